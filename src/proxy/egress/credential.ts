import { Buffer } from 'node:buffer';
import { createHash, timingSafeEqual } from 'node:crypto';
import { valueText } from '../wire/fields.ts';
import type { Head } from '../wire/head.ts';
import type { LocalWorkload, WorkloadIndex } from '../workload.ts';

const maxHeaderLength = 1024;

/** The task that a `Proxy-Authorization: Basic` value proves; undefined when it proves none. */
export function callerOf(value: string, workloads: ReadonlyMap<string, LocalWorkload>): LocalWorkload | undefined {
  const encoded = value.length <= maxHeaderLength ? /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(value)?.[1] : undefined;
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0) return undefined;
  const workload = workloads.get(text.slice(0, colon));
  // an unknown task takes as long as a wrong secret
  const matches = equalSecrets(text.slice(colon + 1), workload?.callerSecret ?? '');
  return matches && workload?.callerSecret !== '' ? workload : undefined;
}

/** Compares digests, so that neither content nor length shows in the time it takes. */
function equalSecrets(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

/** Who calls on a connection, request by request: a proof is looked at again only when it, or the set of tasks, has changed. */
export class CallerProof {
  #proof = '';
  #index: WorkloadIndex | undefined;
  #caller: LocalWorkload | undefined;

  callerOf(index: WorkloadIndex, head: Head, bytes: Buffer): LocalWorkload | undefined {
    const proof = head.proxyAuthorization < 0 ? '' : valueText(head, bytes, head.proxyAuthorization);
    if (this.#index === index && proof === this.#proof) return this.#caller;
    this.#proof = proof;
    this.#index = index;
    this.#caller = callerOf(proof, index.byTask);
    return this.#caller;
  }
}

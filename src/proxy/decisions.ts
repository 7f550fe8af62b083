import type { Buffer } from 'node:buffer';
import { LRUCache } from 'lru-cache';
import type { Cell } from '../base/cell.ts';
import type { AuthorizationRequest, Verdict, WorkloadIdentity } from '../model/policy.ts';
import { authorize } from '../policy/authorize.ts';
import type { CompiledPolicy, WorkloadPolicy } from '../policy/compile.ts';
import { normalizePath } from '../policy/normalize-path.ts';
import { accessDenied, badPath, type LocalAnswer } from './respond.ts';
import { fieldNamed, valueText } from './wire/fields.ts';
import type { Head } from './wire/head.ts';

/** What of a request stays the same for all requests of a connection to one workload. */
export interface Asking {
  readonly identity: WorkloadIdentity;
  readonly principal: string | undefined;
  readonly sourceIp: string;
  readonly destinationIp: string;
  readonly destinationPort: number;
  readonly serverName: string | undefined;
}

/** The policy that holds for a connection at the moment; asked again after a swap. */
export interface Scope {
  readonly asking: Asking;
  readonly compiled: CompiledPolicy;
  readonly policy: WorkloadPolicy;
  readonly keyPrefix: string;
}

/** A verdict with the request's texts, which are read once for many like requests. */
export interface Decision {
  readonly allow: boolean;
  /** What to say when it is not allowed. */
  readonly answer: LocalAnswer | undefined;
  /** `<namespace>/<policy>#<rule index>`, or the reason where no policy spoke. */
  readonly rule: string;
  readonly method: string;
  readonly host: string;
  /** Normalised as the policy saw it, without query: this is what goes on. */
  readonly path: string;
  readonly pathChanged: boolean;
}

/** Requests whose texts are longer are decided each time, so that the cache is bounded in bytes too. */
const maxKeyLength = 1024;

/**
 * Asks the policy, and remembers what it said: by policy, principal, method, host, path without query, and what else the
 * rules read. The memory belongs to one compiled policy and goes with it.
 */
export class Decisions {
  readonly #policy: Cell<CompiledPolicy>;
  readonly #maxEntries: number;
  #compiled: CompiledPolicy | undefined;
  #cache: LRUCache<string, Decision>;
  #serials = new WeakMap<WorkloadPolicy, number>();
  #nextSerial = 0;

  constructor(policy: Cell<CompiledPolicy>, maxEntries: number) {
    this.#policy = policy;
    this.#maxEntries = maxEntries;
    this.#cache = new LRUCache({ max: maxEntries });
  }

  /** Is `scope` still what holds? */
  isCurrent(scope: Scope): boolean {
    return scope.compiled === this.#policy.value;
  }

  scopeOf(asking: Asking): Scope {
    const compiled = this.#policy.value;
    const policy = compiled.forWorkload(asking.identity);
    const parts = [this.#serialOf(policy), asking.destinationPort, asking.principal ?? ''];
    if (policy.readsSourceIp) parts.push(asking.sourceIp);
    if (policy.readsDestinationIp) parts.push(asking.destinationIp);
    if (policy.readsServerName) parts.push(asking.serverName ?? '');
    return { asking, compiled, policy, keyPrefix: `${parts.join(' ')}\n` };
  }

  /** Decides about a connection of which nothing but its ends is known: Istio's rules for TCP. Not remembered, for it is asked once. */
  decideConnection(asking: Asking): Verdict {
    const { principal, sourceIp, destinationIp, destinationPort, serverName } = asking;
    const policy = this.#policy.value.forWorkload(asking.identity);
    return authorize(policy, { protocol: 'tcp', principal, sourceIp, destinationIp, destinationPort, serverName });
  }

  /** Decides the request in `head`; `scope` must be current. */
  decide(scope: Scope, head: Head, bytes: Buffer): Decision {
    if (scope.compiled !== this.#compiled) {
      this.#compiled = scope.compiled;
      this.#cache = new LRUCache({ max: this.#maxEntries });
    }
    const line = bytes.toString('latin1', head.start, head.queryStart);
    const host = hostOf(head, bytes);
    let key = `${scope.keyPrefix}${line}\n${host}`;
    for (const name of scope.policy.headersRead) key += `\n${fieldNamed(head, bytes, name) ?? '\0'}`;
    const known = this.#cache.get(key);
    if (known !== undefined) return known;
    const decision = decide(scope, head, bytes, host);
    if (key.length <= maxKeyLength) this.#cache.set(key, decision);
    return decision;
  }

  #serialOf(policy: WorkloadPolicy): number {
    const known = this.#serials.get(policy);
    if (known !== undefined) return known;
    this.#serials.set(policy, ++this.#nextSerial);
    return this.#nextSerial;
  }
}

function decide({ asking, policy }: Scope, head: Head, bytes: Buffer, host: string): Decision {
  const method = bytes.toString('latin1', head.start, head.methodEnd);
  const raw = pathOf(head, bytes);
  const request: AuthorizationRequest = {
    protocol: 'http',
    principal: asking.principal,
    sourceIp: asking.sourceIp,
    destinationIp: asking.destinationIp,
    destinationPort: asking.destinationPort,
    serverName: asking.serverName,
    method,
    host,
    path: raw,
    header: name => fieldNamed(head, bytes, name),
  };
  const verdict = authorize(policy, request);
  const path = normalizePath(raw, policy.pathNormalization) ?? raw;
  return {
    allow: verdict.allow,
    answer: verdict.allow ? undefined : verdict.reason === 'bad-path' ? badPath : accessDenied,
    rule: ruleText(verdict),
    method,
    host,
    path,
    pathChanged: path !== raw,
  };
}

/** The authority of an absolute-form target, which then counts instead of the Host header (RFC 9112 section 3.2.2). */
function hostOf(head: Head, bytes: Buffer): string {
  return head.authorityEnd > head.authorityStart
    ? bytes.toString('latin1', head.authorityStart, head.authorityEnd)
    : valueText(head, bytes, head.host);
}

/** The path without query; `/` where an absolute-form target has none. */
export function pathOf(head: Head, bytes: Buffer): string {
  return head.queryStart > head.pathStart ? bytes.toString('latin1', head.pathStart, head.queryStart) : '/';
}

/** The rule that spoke, for the access record. */
export function ruleText(verdict: Verdict): string {
  return verdict.policy === undefined ? verdict.reason : `${verdict.policy}#${verdict.rule ?? 0}`;
}

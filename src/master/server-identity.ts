import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cell } from '../base/cell.ts';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { Authority } from '../identity/authority.ts';
import type { TlsIdentity } from '../identity/contexts.ts';
import { generateKeyPair, printPrivateKey } from '../identity/keys.ts';
import { createRequest } from '../identity/request.ts';
import { rotationDueAt } from '../lifecycle/rotation.ts';
import { printSpiffeId } from '../model/identity.ts';

/** The master's own certificate, for broker and API: made anew at each start and in time, its key never on the disk. */
export interface ServerIdentity {
  readonly current: Cell<TlsIdentity>;
  /** Issues another when this one is due, or at once: the authority has changed. */
  renew(options?: { readonly now: boolean }): void;
}

export const authorityFile = 'ca.pem';

export function makeServerIdentity(
  parts: {
    readonly authority: Authority;
    readonly clock: Clock;
    readonly random: Random;
    readonly onIssued: (chainPem: string) => void;
  },
  settings: { readonly names: readonly string[] },
): ServerIdentity {
  const { authority, clock, random, onIssued } = parts;
  let dueAt = 0;

  function issue(): TlsIdentity {
    const keys = generateKeyPair();
    const now = clock.now();
    const request = createRequest(printSpiffeId({ kind: 'master', trustDomain: authority.trustDomain }), keys);
    const { chainPem, notAfter } = authority.issueServer(request, settings.names, now);
    dueAt = rotationDueAt(now, notAfter, random());
    onIssued(chainPem);
    return { keyPem: printPrivateKey(keys.privateKey), chainPem };
  }

  const current = new Cell(issue());
  return {
    current,
    renew({ now } = { now: false }) {
      if (now || clock.now() >= dueAt) current.set(issue());
    },
  };
}

/** The roots, for operators: what their command line trusts. */
export async function writeAuthorityFile(dataDir: string, authority: Authority): Promise<void> {
  await writeFile(join(dataDir, authorityFile), authority.roots.join(''), { mode: 0o644, flush: true });
}

import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { openFiles } from '../../../src/device/files.ts';
import type { Authority, Issued } from '../../../src/identity/authority.ts';
import type { TlsIdentity } from '../../../src/identity/contexts.ts';
import { generateKeyPair, printPrivateKey } from '../../../src/identity/keys.ts';
import { createRequest } from '../../../src/identity/request.ts';
import { openAuthorityFile } from '../../../src/master/authority-file.ts';

/** Certificates that only the real authority can make: those of the past, and the broker's own, as one who has broken into it has it. */
export interface Insider {
  readonly authority: Authority;
  node(id: string, at?: number): TlsIdentity;
  workload(spiffeId: string, at?: number): TlsIdentity;
  broker(): TlsIdentity;
}

/** Opens a copy of the authority of the master whose data is in `masterDir`. */
export async function openInsider(masterDir: string, trustDomain: string, copyDir: string): Promise<Insider> {
  mkdirSync(copyDir);
  cpSync(masterDir, copyDir, { recursive: true, filter: path => !path.includes('mesolite.db') });
  const file = await openAuthorityFile(await openFiles(copyDir), { trustDomain, lifetimes: {} }, Date.now());
  const generation = (await file.load()).at(-1);
  if (generation === undefined) throw new Error(`there is no authority in ${join(masterDir, 'authority')}`);
  const authority = generation.authority;
  const identify = (uri: string, issue: (csr: Uint8Array) => Issued): TlsIdentity => {
    const keys = generateKeyPair();
    return { chainPem: issue(createRequest(uri, keys)).chainPem, keyPem: printPrivateKey(keys.privateKey) };
  };
  return {
    authority,
    node: (id, at = Date.now()) =>
      identify(`spiffe://${trustDomain}/node/${id}`, csr => authority.issueNode(csr, id, at)),
    workload: (spiffeId, at = Date.now()) => identify(spiffeId, csr => authority.issueWorkload(csr, spiffeId, at)),
    broker: () =>
      identify(`spiffe://${trustDomain}/master`, csr => authority.issueServer(csr, ['127.0.0.1'], Date.now())),
  };
}

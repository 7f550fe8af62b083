import type { Transaction } from 'kysely';
import type { StatementSigner } from '../model/audit-anchor.ts';
import type { Schema } from './schema.ts';

/** Keeps the certificate by which what `signer` has signed is verified, once. */
export async function keepSigner(tx: Transaction<Schema>, signer: StatementSigner): Promise<void> {
  await tx
    .insertInto('auditSigners')
    .values({ keyId: signer.keyId, certificate: signer.certificate })
    .onConflict(on => on.column('keyId').doNothing())
    .execute();
}

import type { Kysely } from 'kysely';
import { MesoliteError } from '../base/errors.ts';
import { type CertificateKind, certificateKinds } from '../model/certificate.ts';
import type { CertificateTable, Schema } from './schema.ts';

/** A certificate that was issued; times in milliseconds since 1970. */
export interface CertificateRecord extends CertificateTable {
  readonly kind: CertificateKind;
}

export interface CertificateFilter {
  readonly node?: string | undefined;
  readonly kind?: CertificateKind;
  /** Only those that end later. */
  readonly endAfter?: number | undefined;
  readonly limit: number;
}

/** A SPIFFE id that a node has a certificate for. */
export interface Holding {
  readonly node: string;
  readonly spiffeId: string;
}

export interface Certificates {
  /** One that is known already stays as it is. */
  add(record: Omit<CertificateRecord, 'revokedAt'>): Promise<void>;
  get(serial: string): Promise<CertificateRecord | undefined>;
  /** The newest `limit` that fit, newest first. */
  list(filter: CertificateFilter): Promise<CertificateRecord[]>;
  /** Of those, the ones that were not revoked before, now they are. */
  revoke(which: { readonly serial: string } | { readonly node: string }, at: number): Promise<CertificateRecord[]>;
  /** The serial numbers of all that are revoked and not trimmed yet. */
  revoked(): Promise<string[]>;
  /** The nodes that had a certificate of their own and of which every one is revoked. */
  outcasts(): Promise<string[]>;
  /** What nodes have by one of these issuers that is neither revoked nor expired, and has not been replaced by what another has issued. */
  holdings(issuers: readonly string[], now: number): Promise<readonly Holding[]>;
  /** Forgets those that ended before `ended`, and of workloads what was not revoked and ended before `workloads`. */
  trim(before: { readonly ended: number; readonly workloads: number }): Promise<void>;
}

export function makeCertificates(db: Kysely<Schema>): Certificates {
  return {
    async add(record) {
      await db
        .insertInto('certificates')
        .values({ ...record, revokedAt: null })
        .onConflict(on => on.column('serial').doNothing())
        .execute();
    },
    async get(serial) {
      const row = await db.selectFrom('certificates').selectAll().where('serial', '=', serial).executeTakeFirst();
      return row && toRecord(row);
    },
    async list({ node, kind, endAfter = 0, limit }) {
      let rows = db.selectFrom('certificates').selectAll().where('notAfter', '>', endAfter);
      if (node !== undefined) rows = rows.where('node', '=', node);
      if (kind !== undefined) rows = rows.where('kind', '=', kind);
      return (await rows.orderBy('issuedAt', 'desc').orderBy('serial').limit(limit).execute()).map(toRecord);
    },
    async revoke(which, at) {
      const rows = db.updateTable('certificates').set({ revokedAt: at }).where('revokedAt', 'is', null);
      const chosen = 'serial' in which ? rows.where('serial', '=', which.serial) : rows.where('node', '=', which.node);
      return (await chosen.returningAll().execute()).map(toRecord);
    },
    async revoked() {
      const rows = await db.selectFrom('certificates').select('serial').where('revokedAt', 'is not', null).execute();
      return rows.map(row => row.serial);
    },
    async outcasts() {
      return (await outcastsOf(db).execute()).flatMap(row => row.node ?? []);
    },
    async holdings(issuers, now) {
      if (issuers.length === 0) return [];
      const rows = await db
        .selectFrom('certificates as old')
        .select(['old.node', 'old.spiffeId'])
        .distinct()
        .where('old.issuer', 'in', issuers)
        .where('old.notAfter', '>', now)
        .where('old.revokedAt', 'is', null)
        .where('old.node', 'is not', null)
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom('certificates as next')
                .select('next.serial')
                .whereRef('next.node', '=', 'old.node')
                .whereRef('next.spiffeId', '=', 'old.spiffeId')
                .whereRef('next.issuedAt', '>=', 'old.issuedAt')
                .where('next.issuer', 'not in', issuers)
                .where('next.revokedAt', 'is', null),
            ),
          ),
        )
        .orderBy('old.node')
        .execute();
      return rows.flatMap(({ node, spiffeId }) => (node === null ? [] : [{ node, spiffeId }]));
    },
    async trim({ ended, workloads }) {
      await db.deleteFrom('certificates').where('notAfter', '<', ended).execute();
      await db
        .deleteFrom('certificates')
        .where('notAfter', '<', workloads)
        .where('kind', '=', 'workload')
        .where('revokedAt', 'is', null)
        .execute();
    },
  };
}

/** See `outcasts`; to be narrowed to one node, too. */
export function outcastsOf(db: Kysely<Schema>) {
  return db
    .selectFrom('certificates')
    .select('node')
    .where('kind', '=', 'node')
    .where('node', 'is not', null)
    .groupBy('node')
    .having(eb => eb(eb.fn.countAll(), '=', eb.fn.count('revokedAt')))
    .orderBy('node');
}

function toRecord(row: CertificateTable): CertificateRecord {
  const kind = certificateKinds.find(word => word === row.kind);
  if (kind === undefined)
    throw new MesoliteError('INVALID_INPUT', `stored certificate ${row.serial}: kind: ${row.kind}`);
  return { ...row, kind };
}

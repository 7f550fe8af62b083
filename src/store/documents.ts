import type { ExpressionBuilder, Kysely, Transaction } from 'kysely';
import { raiseCounter, readCounter } from './meta.ts';
import type { DocumentTable, Schema } from './schema.ts';

export interface DocumentRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** `json` is the document as its operator sent it. */
export interface DocumentPut extends DocumentRef {
  readonly json: string;
}

export interface StoredDocument extends DocumentTable {}

export interface DocumentOutcome extends DocumentRef {
  readonly result: 'created' | 'configured' | 'unchanged';
  /** Of the document, after this. */
  readonly revision: number;
}

/**
 * What operators sent. One revision counts all changes of all documents: what one `apply` changes has the same revision,
 * and a removal takes one too, so that a name that is used again never has an old revision.
 */
export interface Documents {
  /** All or none. */
  apply(documents: readonly DocumentPut[], at: number): Promise<DocumentOutcome[]>;
  /** Undefined when there was none, otherwise the revision that the removal made. */
  remove(ref: DocumentRef): Promise<number | undefined>;
  get(ref: DocumentRef): Promise<StoredDocument | undefined>;
  /** Of these kinds, or all. */
  list(...kinds: readonly string[]): Promise<StoredDocument[]>;
  /** The revision of the newest change; 0 before the first. */
  revision(): Promise<number>;
}

const counter = 'documents';

export function makeDocuments(db: Kysely<Schema>): Documents {
  return {
    apply: (documents, at) => db.transaction().execute(tx => applyDocuments(tx, documents, at)),
    remove: ref => db.transaction().execute(tx => removeDocument(tx, ref)),
    get: ref => db.selectFrom('documents').selectAll().where(isNamed(ref)).executeTakeFirst(),
    list: (...kinds) => {
      const all = db.selectFrom('documents').selectAll().orderBy('kind').orderBy('namespace').orderBy('name');
      return (kinds.length === 0 ? all : all.where('kind', 'in', kinds)).execute();
    },
    revision: () => readCounter(db, counter),
  };
}

/** As `apply`, within a transaction. */
export async function applyDocuments(
  tx: Transaction<Schema>,
  documents: readonly DocumentPut[],
  at: number,
): Promise<DocumentOutcome[]> {
  let raised: number | undefined;
  const outcomes: DocumentOutcome[] = [];
  for (const { kind, namespace, name, json } of documents) {
    const ref = { kind, namespace, name };
    const present = await tx.selectFrom('documents').selectAll().where(isNamed(ref)).executeTakeFirst();
    if (present?.json === json) {
      outcomes.push({ ...ref, result: 'unchanged', revision: present.revision });
      continue;
    }
    raised ??= await raiseCounter(tx, counter);
    const revision = raised;
    await tx
      .insertInto('documents')
      .values({ ...ref, json, revision, createdAt: at, updatedAt: at })
      .onConflict(on => on.columns(['kind', 'namespace', 'name']).doUpdateSet({ json, revision, updatedAt: at }))
      .execute();
    outcomes.push({ ...ref, result: present === undefined ? 'created' : 'configured', revision });
  }
  return outcomes;
}

/** As `remove`, within a transaction. */
export async function removeDocument(tx: Transaction<Schema>, ref: DocumentRef): Promise<number | undefined> {
  const { numDeletedRows } = await tx.deleteFrom('documents').where(isNamed(ref)).executeTakeFirst();
  return numDeletedRows > 0n ? raiseCounter(tx, counter) : undefined;
}

function isNamed({ kind, namespace, name }: DocumentRef) {
  return (eb: ExpressionBuilder<Schema, 'documents'>) => eb.and({ kind, namespace, name });
}

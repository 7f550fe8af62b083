import { type Kysely, sql, type Transaction } from 'kysely';
import * as v from 'valibot';
import type { JoinTable, JoinTokenTable, Schema } from './schema.ts';
import { readJson } from './stored-json.ts';

/** A right to join: `uses` times, until `expiresAt`, as `node` when that is given. */
export interface JoinToken {
  readonly id: string;
  /** The HMAC key that is derived from the secret, base64url. */
  readonly key: string;
  readonly uses: number;
  readonly used: number;
  readonly expiresAt: number;
  readonly node: string | null;
  /** Given to the nodes that join with it. */
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: number;
}

/** One key that was let in, and the certificate chain (PEM) that it got. */
export interface Join extends JoinTable {}

/** A node at the door: its key's pin, and the chain that it gets if it is let in. */
export interface JoinAttempt {
  readonly tokenId: string;
  readonly keyPin: string;
  readonly node: string;
  readonly chain: string;
  readonly at: number;
}

/** `repeated`: this key was let in before, and `chain` is the answer of then. */
export type Admission =
  | { readonly admitted: true; readonly chain: string; readonly repeated: boolean }
  | { readonly admitted: false; readonly reason: string };

export interface JoinTokens {
  add(token: Omit<JoinToken, 'used'>): Promise<void>;
  get(id: string): Promise<JoinToken | undefined>;
  list(): Promise<JoinToken[]>;
  /** False when there was none; what joined with it stays. */
  remove(id: string): Promise<boolean>;
  /** Counts a use, records the join and enters the node, or refuses and changes nothing. The same key gets the same answer. */
  admit(attempt: JoinAttempt): Promise<Admission>;
  joins(tokenId: string): Promise<Join[]>;
}

const labelsSchema = v.record(v.string(), v.string());

export function makeJoinTokens(db: Kysely<Schema>): JoinTokens {
  return {
    async add({ labels, ...token }) {
      await db
        .insertInto('joinTokens')
        .values({ ...token, used: 0, labelsJson: JSON.stringify(labels) })
        .execute();
    },
    async get(id) {
      const row = await db.selectFrom('joinTokens').selectAll().where('id', '=', id).executeTakeFirst();
      return row && toToken(row);
    },
    async list() {
      return (await db.selectFrom('joinTokens').selectAll().orderBy('createdAt').execute()).map(toToken);
    },
    async remove(id) {
      const { numDeletedRows } = await db.deleteFrom('joinTokens').where('id', '=', id).executeTakeFirst();
      return numDeletedRows > 0n;
    },
    admit: attempt => db.transaction().execute(tx => admit(tx, attempt)),
    joins: tokenId => db.selectFrom('joins').selectAll().where('tokenId', '=', tokenId).orderBy('at').execute(),
  };
}

async function admit(tx: Transaction<Schema>, attempt: JoinAttempt): Promise<Admission> {
  const { tokenId, keyPin, node } = attempt;
  const token = await tx.selectFrom('joinTokens').selectAll().where('id', '=', tokenId).executeTakeFirst();
  if (token === undefined) return refuse('the token is not known');
  const before = await tx
    .selectFrom('joins')
    .selectAll()
    .where('tokenId', '=', tokenId)
    .where('keyPin', '=', keyPin)
    .executeTakeFirst();
  if (before !== undefined) {
    return before.node === node
      ? { admitted: true, chain: before.chain, repeated: true }
      : refuse(`this key has joined as ${before.node}`);
  }
  if (token.expiresAt <= attempt.at) return refuse('the token has expired');
  if (token.node !== null && token.node !== node) return refuse(`the token is for node ${token.node}`);
  if (!(await mayBe(tx, node, keyPin, token))) {
    return refuse(`node ${node} has joined with another key: make a token with --node ${node} to replace it`);
  }
  // the condition is in the statement, so that it also holds where transactions run side by side
  const counted = await tx
    .updateTable('joinTokens')
    .set({ used: sql<number>`used + 1` })
    .where('id', '=', tokenId)
    .whereRef('used', '<', 'uses')
    .executeTakeFirst();
  if (counted.numUpdatedRows === 0n) return refuse(`the token has been used ${token.used} of ${token.uses} times`);
  await tx.insertInto('joins').values(attempt).execute();
  await enterNode(tx, attempt, token.labelsJson);
  return { admitted: true, chain: attempt.chain, repeated: false };
}

function refuse(reason: string): Admission {
  return { admitted: false, reason };
}

/** A name that is taken is only given to another key by a token that was made for that name. */
async function mayBe(tx: Transaction<Schema>, node: string, keyPin: string, token: JoinTokenTable): Promise<boolean> {
  if (token.node === node) return true;
  const known = await tx.selectFrom('nodes').select('keyPin').where('id', '=', node).executeTakeFirst();
  return known === undefined || known.keyPin === keyPin;
}

async function enterNode(tx: Transaction<Schema>, attempt: JoinAttempt, labelsJson: string): Promise<void> {
  const { node, keyPin, at } = attempt;
  await tx
    .insertInto('nodes')
    .values({
      id: node,
      keyPin,
      labelsJson,
      joinedAt: at,
      state: 'joined',
      lastSeen: at,
      boot: 0,
      birthJson: null,
      epoch: 0,
      generation: 0,
    })
    // a new key is a new installation: it counts its boots anew, and its assignment goes on
    .onConflict(on => on.column('id').doUpdateSet({ keyPin, labelsJson, joinedAt: at, state: 'joined', boot: 0 }))
    .execute();
}

function toToken({ labelsJson, ...row }: JoinTokenTable): JoinToken {
  return { ...row, labels: readJson(labelsSchema, labelsJson, 'labels of a join token') };
}

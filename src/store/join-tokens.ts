import { type Kysely, sql, type Transaction } from 'kysely';
import * as v from 'valibot';
import { MesoliteError } from '../base/errors.ts';
import { outcastsOf } from './certificates.ts';
import { findApproval, type JoinQueueBounds, joinQueueBounds } from './join-requests.ts';
import { removedState } from './nodes.ts';
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
  /** What a node must say of itself to use it: its firmware profile, and labels. */
  readonly profile: string | null;
  readonly requires: Readonly<Record<string, string>>;
  /** Does each join wait for an operator? */
  readonly approve: boolean;
}

export type NewJoinToken = Omit<JoinToken, 'used' | Condition> & Partial<Pick<JoinToken, Condition>>;
type Condition = 'profile' | 'requires' | 'approve';

/** One key that was let in, and the certificate chain (PEM) that it got. */
export interface Join extends JoinTable {}

/** A node at the door: its key's pin, what it says of itself, and the chain that it gets if it is let in. */
export interface JoinAttempt extends Join {
  readonly labels?: Readonly<Record<string, string>>;
  readonly profile?: string | null;
}

/**
 * `repeated`: this key was let in before, and `chain` is the answer of then. `pending`: an operator has to decide; it is the request's id,
 * or null while too many wait, and `isNew` is true the first time.
 */
export type Admission =
  | { readonly admitted: true; readonly chain: string; readonly repeated: boolean }
  | { readonly admitted: false; readonly reason: string }
  | { readonly admitted: false; readonly pending: string | null; readonly isNew: boolean };

/** Tokens that are kept: more are not made before some are revoked. */
export const maxTokens = 10_000;

export interface JoinTokens {
  /** Throws QUEUE_FULL when there are too many. */
  add(token: NewJoinToken): Promise<void>;
  get(id: string): Promise<JoinToken | undefined>;
  list(): Promise<JoinToken[]>;
  /** False when there was none; what joined with it stays. */
  remove(id: string): Promise<boolean>;
  /** Forgets those that expired before `before`, and what joined with them; returns how many. */
  trim(before: number): Promise<number>;
  /** Counts a use, records the join and enters the node, or lets it wait, or refuses. The same key gets the same answer. */
  admit(attempt: JoinAttempt, bounds?: JoinQueueBounds): Promise<Admission>;
  joins(tokenId: string): Promise<Join[]>;
}

const labelsSchema = v.record(v.string(), v.string());

export function makeJoinTokens(db: Kysely<Schema>): JoinTokens {
  return {
    add: token => db.transaction().execute(tx => add(tx, token)),
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
    async trim(before) {
      const { numDeletedRows } = await db.deleteFrom('joinTokens').where('expiresAt', '<', before).executeTakeFirst();
      return Number(numDeletedRows);
    },
    admit: (attempt, bounds = joinQueueBounds) => db.transaction().execute(tx => admit(tx, attempt, bounds)),
    joins: tokenId => db.selectFrom('joins').selectAll().where('tokenId', '=', tokenId).orderBy('at').execute(),
  };
}

async function add(
  tx: Transaction<Schema>,
  { labels, requires = {}, approve = false, profile = null, ...token }: NewJoinToken,
): Promise<void> {
  const present = await tx
    .selectFrom('joinTokens')
    .select(db => db.fn.countAll<number>().as('count'))
    .executeTakeFirst();
  if ((present?.count ?? 0) >= maxTokens) {
    throw new MesoliteError(
      'QUEUE_FULL',
      `there are ${maxTokens} join tokens: revoke some with \`mesolite token revoke\``,
    );
  }
  const row = { labelsJson: JSON.stringify(labels), requiresJson: JSON.stringify(requires), approve: approve ? 1 : 0 };
  await tx
    .insertInto('joinTokens')
    .values({ ...token, ...row, profile, used: 0 })
    .execute();
}

async function admit(tx: Transaction<Schema>, attempt: JoinAttempt, bounds: JoinQueueBounds): Promise<Admission> {
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
  const reason = whyNot(toToken(token), attempt) ?? (await whyNotNode(tx, attempt, token));
  if (reason !== undefined) return refuse(reason);
  if (token.approve === 1) {
    const { labels = {}, profile = null, at } = attempt;
    const request = { tokenId, keyPin, node, profile, at, labelsJson: JSON.stringify(labels) };
    const approval = await findApproval(tx, request, bounds);
    if (approval.outcome === 'queued') return { admitted: false, pending: approval.id, isNew: approval.isNew };
    if (approval.outcome === 'denied') {
      return refuse(`an operator denied it${approval.reason === null ? '' : `: ${approval.reason}`}`);
    }
    await tx.deleteFrom('joinRequests').where('tokenId', '=', tokenId).where('keyPin', '=', keyPin).execute();
  }
  return enter(tx, attempt, token);
}

async function enter(tx: Transaction<Schema>, attempt: JoinAttempt, token: JoinTokenTable): Promise<Admission> {
  const { tokenId, keyPin, node, chain, at } = attempt;
  // the condition is in the statement, so that it also holds where transactions run side by side
  const counted = await tx
    .updateTable('joinTokens')
    .set({ used: sql<number>`used + 1` })
    .where('id', '=', tokenId)
    .whereRef('used', '<', 'uses')
    .executeTakeFirst();
  if (counted.numUpdatedRows === 0n) return refuse(usedUp(token));
  await tx.insertInto('joins').values({ tokenId, keyPin, node, chain, at }).execute();
  await enterNode(tx, attempt, token.labelsJson);
  return { admitted: true, chain, repeated: false };
}

/** What the token itself has against the attempt. */
function whyNot(token: JoinToken, { at, node, profile, labels = {} }: JoinAttempt): string | undefined {
  if (token.expiresAt <= at) return 'the token has expired';
  if (token.used >= token.uses) return usedUp(token);
  if (token.node !== null && token.node !== node)
    return `the token is for node ${token.node}, this one is called ${node}: let it join with --node ${token.node}`;
  if (token.profile !== null && token.profile !== profile) {
    return `the token is for boards of the profile ${token.profile}, this one is ${profile ?? 'of none'}`;
  }
  const lacking = Object.entries(token.requires).find(([key, value]) => labels[key] !== value);
  return lacking && `the token is for nodes with the label ${lacking.join('=')}`;
}

function usedUp({ used, uses }: Pick<JoinToken, 'used' | 'uses'>): string {
  return `the token has been used ${used} of ${uses} times`;
}

function refuse(reason: string): Admission {
  return { admitted: false, reason };
}

/**
 * A name that is taken is only given to another key by a token that was made for that name. To one that is in quarantine, was deleted or
 * whose certificates are revoked, that token is not enough with the old key: whoever has the copy has it, too.
 */
async function whyNotNode(
  tx: Transaction<Schema>,
  { node, keyPin }: JoinAttempt,
  token: JoinTokenTable,
): Promise<string | undefined> {
  const known = await tx.selectFrom('nodes').select(['keyPin', 'state']).where('id', '=', node).executeTakeFirst();
  if (known === undefined || (known.state === removedState && known.keyPin !== keyPin)) return undefined;
  const out = outWords.get(known.state) ?? (await whyOutcast(tx, node));
  if (out !== undefined && known.keyPin === keyPin) return `node ${node} ${out} with this key: join with a new one`;
  if (token.node === node || known.keyPin === keyPin) return undefined;
  return `node ${node} ${out ?? 'has joined with another key'}: make a token with --node ${node} to replace it`;
}

const outWords: ReadonlyMap<string, string> = new Map([
  ['quarantined', 'is in quarantine'],
  [removedState, 'was deleted'],
]);

async function whyOutcast(tx: Transaction<Schema>, node: string): Promise<string | undefined> {
  const row = await outcastsOf(tx).where('node', '=', node).executeTakeFirst();
  return row && 'was revoked';
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
      quarantine: null,
    })
    // a new key is a new installation: it counts its boots anew, and its assignment goes on
    .onConflict(on =>
      on.column('id').doUpdateSet({ keyPin, labelsJson, joinedAt: at, state: 'joined', boot: 0, quarantine: null }),
    )
    .execute();
}

function toToken({ labelsJson, requiresJson, approve, ...row }: JoinTokenTable): JoinToken {
  return {
    ...row,
    labels: readJson(labelsSchema, labelsJson, 'labels of a join token'),
    requires: readJson(labelsSchema, requiresJson, 'labels that a join token requires'),
    approve: approve === 1,
  };
}

import type { Kysely, Transaction } from 'kysely';
import * as v from 'valibot';
import { MesoliteError } from '../base/errors.ts';
import type { JoinRequestTable, Schema } from './schema.ts';
import { readJson } from './stored-json.ts';

const requestStates = ['pending', 'approved', 'denied'] as const;
export type JoinRequestState = (typeof requestStates)[number];

/** A node that waits at the door for an operator; its id is the beginning of its key's pin, which the node shows too. */
export interface JoinRequest {
  readonly id: string;
  readonly tokenId: string;
  readonly keyPin: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly profile: string | null;
  readonly state: JoinRequestState;
  /** Why it was denied, where the operator said so. */
  readonly reason: string | null;
  readonly at: number;
  /** When its token expires, and it with it. */
  readonly expiresAt: number;
}

export interface JoinDecision {
  readonly state: 'approved' | 'denied';
  readonly reason: string | null;
}

/** How many may wait: of all tokens, and of one. */
export interface JoinQueueBounds {
  readonly pending: number;
  readonly pendingOfToken: number;
}

/** The broker has seats for twice as many joiners, so that those who wait leave room. */
export const joinQueueBounds: JoinQueueBounds = { pending: 128, pendingOfToken: 64 };

/** They enter by `JoinTokens.admit`, and are gone when they have joined. */
export interface JoinRequests {
  /** Those whose token is still good at `now`, oldest first. */
  list(now: number): Promise<JoinRequest[]>;
  /** Throws NOT_FOUND, or CONFLICT when it was decided before. */
  decide(id: string, decision: JoinDecision): Promise<void>;
}

const idLength = 16;
const labelsSchema = v.record(v.string(), v.string());

export function makeJoinRequests(db: Kysely<Schema>): JoinRequests {
  return {
    async list(now) {
      const rows = await db
        .selectFrom('joinRequests')
        .innerJoin('joinTokens', 'joinTokens.id', 'joinRequests.tokenId')
        .selectAll('joinRequests')
        .select('joinTokens.expiresAt')
        .where('joinTokens.expiresAt', '>', now)
        .orderBy('joinRequests.at')
        .execute();
      return rows.map(toRequest);
    },
    decide: (id, decision) => db.transaction().execute(tx => decide(tx, id, decision)),
  };
}

async function decide(tx: Transaction<Schema>, id: string, decision: JoinDecision): Promise<void> {
  const request = await tx.selectFrom('joinRequests').selectAll().where('id', '=', id).executeTakeFirst();
  if (request === undefined) throw new MesoliteError('NOT_FOUND', `no join ${id} waits`);
  if (request.state !== 'pending') throw new MesoliteError('CONFLICT', `the join ${id} is ${request.state} already`);
  await tx.updateTable('joinRequests').set(decision).where('id', '=', id).execute();
}

/** What becomes of a node whose token wants an approval; `queued` has the request's id, or null where too many wait. */
export type Approval =
  | { readonly outcome: 'approved' }
  | { readonly outcome: 'denied'; readonly reason: string | null }
  | { readonly outcome: 'queued'; readonly id: string | null; readonly isNew: boolean };

/** Looks up the request of this key, and queues it at its first call. */
export async function findApproval(
  tx: Transaction<Schema>,
  request: Omit<JoinRequestTable, 'id' | 'state' | 'reason'>,
  bounds: JoinQueueBounds,
): Promise<Approval> {
  const id = request.keyPin.slice(0, idLength);
  const known = await tx.selectFrom('joinRequests').selectAll().where('id', '=', id).executeTakeFirst();
  if (known !== undefined) {
    const { tokenId, keyPin, node } = known;
    const isSame = tokenId === request.tokenId && keyPin === request.keyPin && node === request.node;
    if (!isSame) return { outcome: 'denied', reason: 'its key waits already for another join' };
    if (known.state === 'approved') return { outcome: 'approved' };
    if (known.state === 'denied') return { outcome: 'denied', reason: known.reason };
    return { outcome: 'queued', id, isNew: false };
  }
  const pending = await tx.selectFrom('joinRequests').select('tokenId').where('state', '=', 'pending').execute();
  const ofToken = pending.filter(({ tokenId }) => tokenId === request.tokenId).length;
  if (pending.length >= bounds.pending || ofToken >= bounds.pendingOfToken) {
    return { outcome: 'queued', id: null, isNew: true };
  }
  await tx
    .insertInto('joinRequests')
    .values({ id, ...request, state: 'pending', reason: null })
    .execute();
  return { outcome: 'queued', id, isNew: true };
}

function toRequest({ labelsJson, state, ...row }: JoinRequestTable & { readonly expiresAt: number }): JoinRequest {
  const known = requestStates.find(word => word === state);
  if (known === undefined) throw new MesoliteError('INVALID_INPUT', `stored join ${row.id}: state: got ${state}`);
  return { ...row, state: known, labels: readJson(labelsSchema, labelsJson, `labels of the join ${row.id}`) };
}

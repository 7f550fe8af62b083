import type { Kysely } from 'kysely';
import * as v from 'valibot';
import { MesoliteError } from '../base/errors.ts';
import { type Drain, drainSchema } from '../model/drain.ts';
import { type Birth, birthSchema } from '../model/message.ts';
import type { NodeTable, Schema } from './schema.ts';
import { readJson } from './stored-json.ts';

const nodeStates = ['joined', 'ready', 'unreachable', 'quarantined'] as const;

/** `joined` until its first birth, then `ready` or, since its lease ran out, `unreachable`; `quarantined` until it joins with a new key. */
export type NodeState = (typeof nodeStates)[number];

export interface NodeRecord {
  readonly id: string;
  readonly keyPin: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly joinedAt: number;
  readonly state: NodeState;
  /** As it was when the state was last written: a heartbeat does not reach the disk. */
  readonly lastSeen: number;
  readonly boot: number;
  readonly birth: Birth | null;
  /** Of its assignment: they rise with each change of it, see `Assignments`. */
  readonly epoch: number;
  readonly generation: number;
  /** Why it is in quarantine, if it is. */
  readonly quarantine: string | null;
  /** When it takes no tasks, if an operator said so. */
  readonly drain: Drain | null;
}

export interface NodeChange {
  readonly state?: NodeState;
  readonly lastSeen?: number;
  /** Carries the boot, too. */
  readonly birth?: Birth;
  readonly labels?: Readonly<Record<string, string>>;
  readonly quarantine?: string;
  readonly drain?: Drain | null;
}

/** Of one that an operator has deleted: its row stays for what refers to it, and its name may join with any other key. */
export const removedState = 'removed';

/** Nodes enter by `JoinTokens.admit`; those that were removed are not among them until they join anew. */
export interface Nodes {
  get(id: string): Promise<NodeRecord | undefined>;
  list(): Promise<NodeRecord[]>;
  /** Throws NOT_FOUND. */
  update(id: string, change: NodeChange): Promise<void>;
  /** Only while it is in quarantine: one that joins meanwhile stays. */
  remove(id: string): Promise<void>;
}

const labelsSchema = v.record(v.string(), v.string());

export function makeNodes(db: Kysely<Schema>): Nodes {
  return {
    async get(id) {
      const row = await present(db).where('id', '=', id).executeTakeFirst();
      return row && toNode(row);
    },
    async list() {
      return (await present(db).orderBy('id').execute()).map(toNode);
    },
    async update(id, { birth, labels, drain, ...plain }) {
      const set = {
        ...plain,
        ...(birth && { birthJson: JSON.stringify(birth), boot: birth.boot }),
        ...(labels && { labelsJson: JSON.stringify(labels) }),
        ...(drain !== undefined && { drainJson: drain && JSON.stringify(drain) }),
      };
      if (Object.keys(set).length === 0) return;
      const { numUpdatedRows } = await db.updateTable('nodes').set(set).where('id', '=', id).executeTakeFirst();
      if (numUpdatedRows === 0n) throw new MesoliteError('NOT_FOUND', `there is no node ${id}`);
    },
    async remove(id) {
      await db
        .updateTable('nodes')
        .set({ state: removedState, birthJson: null })
        .where('id', '=', id)
        .where('state', '=', 'quarantined')
        .execute();
    },
  };
}

function present(db: Kysely<Schema>) {
  return db.selectFrom('nodes').selectAll().where('state', '!=', removedState);
}

function toNode({ labelsJson, birthJson, drainJson, state, ...row }: NodeTable): NodeRecord {
  const known = nodeStates.find(word => word === state);
  if (known === undefined) throw new MesoliteError('INVALID_INPUT', `stored node ${row.id}: state: got ${state}`);
  return {
    ...row,
    state: known,
    labels: readJson(labelsSchema, labelsJson, `labels of node ${row.id}`),
    drain: drainJson === null ? null : readJson(drainSchema, drainJson, `drain of node ${row.id}`),
    birth: birthJson === null ? null : readJson(birthSchema, birthJson, `birth of node ${row.id}`),
  };
}

import type { Kysely, Transaction } from 'kysely';
import * as v from 'valibot';
import type { RolloutState } from '../lifecycle/rollout.ts';
import { type RolloutSpec, rolloutPhases } from '../model/rollout.ts';
import { applyDocuments, type DocumentPut, type DocumentRef, removeDocument } from './documents.ts';
import { raiseCounter } from './meta.ts';
import type { RolloutTable, Schema } from './schema.ts';
import { readJson } from './stored-json.ts';

/** What becomes of one document; `json` is null where it is removed. */
export interface DocumentChange extends DocumentRef {
  readonly json: string | null;
}

export interface NewRollout {
  /** What is rolled out: the first part of its name. */
  readonly subject: string;
  readonly spec: RolloutSpec;
  readonly changes: readonly DocumentChange[];
  readonly by: string;
  readonly state: RolloutState;
  readonly startedAt: number;
}

export interface StoredRollout extends NewRollout {
  /** `<subject>-<number>`, rising with the number. */
  readonly name: string;
  readonly endedAt: number | null;
}

/** An end, with the changes that hold from now on everywhere. */
export interface RolloutEnd {
  readonly name: string;
  readonly state: RolloutState;
  readonly at: number;
  readonly carryOut: readonly DocumentChange[];
}

/** Changes on their way through the fleet. While one is under way its changes are here alone; documents have what holds everywhere. */
export interface Rollouts {
  /** Ends the one that it replaces with the same stroke; the oldest ended ones beyond `keep` are forgotten. */
  begin(rollout: NewRollout, options: { readonly keep: number; readonly ends?: RolloutEnd }): Promise<StoredRollout>;
  save(name: string, state: RolloutState): Promise<void>;
  /** Of what it changed, the names stay; `json` is empty where it was put. */
  end(end: RolloutEnd): Promise<void>;
  /** Changes that hold everywhere, without a rollout: all of them or none. */
  carryOut(changes: readonly DocumentChange[], at: number): Promise<void>;
  /** Newest first. */
  list(): Promise<StoredRollout[]>;
}

/** A spec that was read: with its durations in milliseconds. */
const specSchema = v.object({
  steps: v.array(
    v.object({
      name: v.optional(v.string()),
      nodes: v.optional(v.array(v.string())),
      labels: v.optional(v.record(v.string(), v.string())),
      percent: v.optional(v.number()),
      for: v.number(),
      timeout: v.number(),
    }),
  ),
  maxRise: v.object({ deniedPercent: v.number(), errorsPercent: v.number() }),
  minRequests: v.number(),
  offline: v.picklist(['skip', 'wait']),
  minNodes: v.number(),
  onTimeout: v.picklist(['rollback', 'pause']),
});
const stateSchema = v.object({
  phase: v.picklist(rolloutPhases),
  step: v.number(),
  stage: v.picklist(['waiting', 'watching']),
  waitedMs: v.number(),
  watchedMs: v.number(),
  rings: v.array(v.array(v.string())),
  reason: v.nullable(v.string()),
});
const changesSchema = v.array(
  v.object({ kind: v.string(), namespace: v.string(), name: v.string(), json: v.nullable(v.string()) }),
);

const counter = 'rollouts';

export function makeRollouts(db: Kysely<Schema>): Rollouts {
  return {
    begin: (rollout, { keep, ends }) =>
      db.transaction().execute(async tx => {
        if (ends !== undefined) await end(tx, ends);
        const number = await raiseCounter(tx, counter);
        const { subject, spec, changes, by, state, startedAt } = rollout;
        const row: RolloutTable = {
          number,
          subject,
          specJson: JSON.stringify(spec),
          changesJson: JSON.stringify(changes),
          operator: by,
          stateJson: JSON.stringify(state),
          startedAt,
          endedAt: null,
        };
        await tx.insertInto('rollouts').values(row).execute();
        await tx
          .deleteFrom('rollouts')
          .where('number', '<=', number - keep)
          .where('endedAt', 'is not', null)
          .execute();
        return toRollout(row);
      }),
    async save(name, state) {
      await db
        .updateTable('rollouts')
        .set({ stateJson: JSON.stringify(state) })
        .where('number', '=', numberOf(name))
        .execute();
    },
    end: ended => db.transaction().execute(tx => end(tx, ended)),
    carryOut: (changes, at) => db.transaction().execute(tx => carryOutAll(tx, changes, at)),
    async list() {
      return (await db.selectFrom('rollouts').selectAll().orderBy('number', 'desc').execute()).map(toRollout);
    },
  };
}

async function end(tx: Transaction<Schema>, { name, state, at, carryOut }: RolloutEnd): Promise<void> {
  await carryOutAll(tx, carryOut, at);
  const number = numberOf(name);
  const row = await tx.selectFrom('rollouts').select('changesJson').where('number', '=', number).executeTakeFirst();
  if (row === undefined) return;
  const changes = readJson(changesSchema, row.changesJson, 'changes of a rollout');
  // a hundred times all policies would fill a small card, and nobody asks for them
  const changesJson = JSON.stringify(changes.map(change => ({ ...change, json: change.json === null ? null : '' })));
  await tx
    .updateTable('rollouts')
    .set({ stateJson: JSON.stringify(state), changesJson, endedAt: at })
    .where('number', '=', number)
    .execute();
}

async function carryOutAll(tx: Transaction<Schema>, changes: readonly DocumentChange[], at: number): Promise<void> {
  const puts = changes.flatMap(({ json, ...ref }): DocumentPut[] => (json === null ? [] : [{ ...ref, json }]));
  await applyDocuments(tx, puts, at);
  for (const { json, kind, namespace, name } of changes) {
    if (json === null) await removeDocument(tx, { kind, namespace, name });
  }
}

function toRollout({
  number,
  subject,
  specJson,
  changesJson,
  operator,
  stateJson,
  ...times
}: RolloutTable): StoredRollout {
  return {
    ...times,
    name: `${subject}-${number}`,
    subject,
    spec: readJson(specSchema, specJson, 'rollout'),
    changes: readJson(changesSchema, changesJson, 'changes of a rollout'),
    by: operator,
    state: readJson(stateSchema, stateJson, 'state of a rollout'),
  };
}

function numberOf(name: string): number {
  return Number(name.slice(name.lastIndexOf('-') + 1));
}

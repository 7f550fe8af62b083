import { Buffer } from 'node:buffer';
import { MesoliteError } from '../base/errors.ts';
import { describeRing } from '../lifecycle/rings.ts';
import { decodeDocument, policyKinds, type Rollout } from '../model/document.ts';
import { maxKeySets, messageBounds } from '../model/message.ts';
import type { RolloutSpec } from '../model/rollout.ts';
import { maxKeptBytes } from '../policy/key-set.ts';
import type { DocumentRef } from '../store/documents.ts';
import type { DocumentChange } from '../store/rollouts.ts';
import type { Store } from '../store/store.ts';
import { governing } from './rollout-choice.ts';
import { nameOfChange } from './rollout-view.ts';
import type { Rollouts } from './rollouts.ts';

/** All policies travel to the nodes in one document, which has to fit into one message beside its head and the keys of issuers. */
const otherBytes = 64 * 1024 + maxKeySets * maxKeptBytes;
export const policyBounds = { count: 10_000, bytes: messageBounds.down.maxBytes - otherBytes } as const;

/** How an operator wants changes of policies to reach the nodes; as Rollout documents say where nothing is wanted. */
export interface PushOptions {
  readonly by: string;
  readonly rollout?: RolloutSpec | undefined;
  readonly atOnce?: boolean | undefined;
}

/** Changes of policies on their way into the store: at once, or by a rollout. */
export interface Pushes {
  /** A policy as its operators want it: as a rollout makes it, or as it is stored; undefined when there is none, or none any more. */
  wanted(ref: DocumentRef): Promise<string | undefined>;
  /** What is stored with the next stroke, and what is done then; the rollout's name where there is one. */
  prepare(
    changes: readonly DocumentChange[],
    options: PushOptions & { readonly fresh?: readonly Rollout[] },
  ): Promise<Push>;
}

export interface Push {
  /** Those of the changes that the caller stores itself. */
  readonly direct: readonly DocumentChange[];
  /** To be called when `direct` is stored; the name of the rollout, if it goes by one. */
  go(): Promise<string | undefined>;
}

export function makePushes(
  parts: {
    readonly store: Store;
    readonly rollouts: Pick<Rollouts, 'active' | 'nodeIds' | 'firstRing' | 'begin' | 'overtake'>;
    readonly onPolicies: () => Promise<void>;
  },
  settings: { readonly rootNamespace: string },
): Pushes {
  const { store, rollouts, onPolicies } = parts;

  function overlaps(changes: readonly DocumentChange[]): boolean {
    const pending = new Set(rollouts.active?.changes.map(nameOfChange));
    return changes.some(change => pending.has(nameOfChange(change)));
  }

  async function specFor(
    changes: readonly DocumentChange[],
    { rollout, atOnce, fresh = [] }: Parameters<Pushes['prepare']>[1],
  ): Promise<RolloutSpec | undefined> {
    if (atOnce || changes.length === 0 || rollouts.nodeIds().length === 0) return undefined;
    const names = new Set(fresh.map(nameOf));
    const stored = (await store.documents.list('Rollout')).map(row => asRollout(JSON.parse(row.json)));
    const all = [...fresh, ...stored.filter(each => !names.has(nameOf(each)))];
    // what is on its way already begins anew, by the same steps
    const same = overlaps(changes) ? rollouts.active?.spec : undefined;
    return rollout ?? governing(changes, all, settings.rootNamespace) ?? same;
  }

  /** What an operator holds does not go on by another's push of something else. */
  function refuseHeld(changes: readonly DocumentChange[]): void {
    const { active } = rollouts;
    if (active?.state.phase !== 'paused' || overlaps(changes)) return;
    throw new MesoliteError(
      'CONFLICT',
      `rollout ${active.name} is paused, and would go on with this: resume or abort it first, or push this --at-once`,
    );
  }

  /** A Rollout may be there before its nodes are; who names nodes for one push means some that are there. */
  function refuseNobody(rollout: RolloutSpec): void {
    if (rollouts.firstRing(rollout).length > 0) return;
    const [first = {}] = rollout.steps;
    throw new MesoliteError(
      'INVALID_INPUT',
      `nobody is there to try it: no node of the fleet is one of: ${describeRing(first)}`,
    );
  }

  /** Both the old and the new travel, with the names of those that get the new. */
  async function refuseTooLarge(changes: readonly DocumentChange[]): Promise<void> {
    const stored = await store.documents.list(...policyKinds);
    const texts = [
      ...stored.map(row => row.json),
      ...[...changes, ...(rollouts.active?.changes ?? [])].map(change => change.json ?? ''),
      JSON.stringify(rollouts.nodeIds()),
    ];
    const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    if (bytes <= policyBounds.bytes) return;
    throw new MesoliteError(
      'TOO_LARGE',
      `old and new policies together have ${bytes} bytes, at most ${policyBounds.bytes} reach the nodes: apply fewer together, or --at-once`,
    );
  }

  return {
    async wanted(ref) {
      const pending = rollouts.active?.changes.find(change => nameOfChange(change) === nameOfChange(ref));
      return pending === undefined ? (await store.documents.get(ref))?.json : (pending.json ?? undefined);
    },
    async prepare(changes, options) {
      const spec = await specFor(changes, options);
      const { by } = options;
      if (spec !== undefined) {
        refuseHeld(changes);
        if (options.rollout !== undefined) refuseNobody(options.rollout);
        await refuseTooLarge(changes);
        return { direct: [], go: async () => (await rollouts.begin({ changes, spec, by })).name };
      }
      if (overlaps(changes)) return { direct: [], go: async () => void (await rollouts.overtake(changes, by)) };
      return { direct: changes, go: async () => void (changes.length > 0 && (await onPolicies())) };
    },
  };
}

function asRollout(sent: unknown): Rollout {
  const document = decodeDocument(sent, 'stored Rollout');
  if (document.kind !== 'Rollout') throw new MesoliteError('INTERNAL', `a ${document.kind} is stored as a Rollout`);
  return document;
}

function nameOf({ metadata }: Rollout): string {
  return `${metadata.namespace}/${metadata.name}`;
}

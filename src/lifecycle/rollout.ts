import type { RolloutPhase, RolloutSpec, RolloutStep } from '../model/rollout.ts';
import { addedBy, describeRing, type RingNode } from './rings.ts';
import { expectedShare, hasRisen, rateOf, type Share } from './rise.ts';

/** Where a rollout stands. Times in it are lengths that were lived through, so that neither a clock that jumps nor a restart ends a watch. */
export interface RolloutState {
  readonly phase: RolloutPhase;
  /** From 0. */
  readonly step: number;
  /** `waiting` while nodes that are there have not acknowledged, `watching` while all have: both are limited, so that each step has an end. */
  readonly stage: 'waiting' | 'watching';
  /** Of this step. */
  readonly waitedMs: number;
  readonly watchedMs: number;
  /** The nodes that each step has added so far. A node that is in stays in until the end. */
  readonly rings: readonly (readonly string[])[];
  readonly reason: string | null;
}

/** A node as it is seen now. */
export interface RolloutNode extends RingNode {
  /** It has what is rolled out in force. */
  readonly acknowledged: boolean;
  /** It does not take it, for this reason. */
  readonly refused?: string | undefined;
  /** How it fared before it had it, and since; absent while it has said nothing. */
  readonly signs?: Readonly<Record<Sign, { readonly before: Share; readonly since: Share }>> | undefined;
}

/** What may go wrong more often than before. */
export const signs = ['denied', 'errors'] as const;
export type Sign = (typeof signs)[number];

/** The steps as they are gone: the last one is of all nodes, watched as long as the one before where it was not written. */
export function stepsOf({ steps }: RolloutSpec): readonly RolloutStep[] {
  const last = steps.at(-1);
  if (last === undefined || last.percent === 100) return steps;
  return [...steps, { percent: 100, for: last.for, timeout: last.timeout }];
}

export function startRollout(spec: RolloutSpec, nodes: readonly RingNode[]): RolloutState {
  const nowhere = { phase: 'running', rings: [], reason: null } as const;
  return enter(nowhere, 0, spec, nodes);
}

export function hasEnded({ phase }: RolloutState): boolean {
  return phase !== 'running' && phase !== 'paused';
}

/** `elapsedMs` after the last look. What is over stays as it is; one that is paused is watched on, and goes no further. */
export function advanceRollout(
  state: RolloutState,
  spec: RolloutSpec,
  nodes: readonly RolloutNode[],
  elapsedMs: number,
): RolloutState {
  if (hasEnded(state)) return state;
  const grown = grow(state, spec, nodes);
  const breach = breachOf(grown, spec, nodes);
  if (breach !== undefined) return endRollout(grown, 'rolled-back', breach);
  if (grown.phase === 'paused') return grown;
  return live(grown, spec, nodes, elapsedMs);
}

export function pauseRollout(state: RolloutState, reason: string): RolloutState {
  return state.phase === 'running' ? { ...state, phase: 'paused', reason } : state;
}

/** A wait that ran out begins anew. */
export function resumeRollout(state: RolloutState): RolloutState {
  if (state.phase !== 'paused') return state;
  return { ...state, phase: 'running', reason: null, waitedMs: 0 };
}

export function endRollout(
  state: RolloutState,
  phase: Exclude<RolloutPhase, 'running' | 'paused'>,
  reason: string | null,
): RolloutState {
  return hasEnded(state) ? state : { ...state, phase, reason };
}

function enter(
  { phase, rings, reason }: Pick<RolloutState, 'phase' | 'rings' | 'reason'>,
  step: number,
  spec: RolloutSpec,
  nodes: readonly RingNode[],
): RolloutState {
  const anew = { step, stage: 'waiting', waitedMs: 0, watchedMs: 0 } as const;
  return grow({ ...anew, phase, rings: [...rings, []], reason }, spec, nodes);
}

/** Nodes that come while it goes on get what their ring has. */
function grow(state: RolloutState, spec: RolloutSpec, nodes: readonly RingNode[]): RolloutState {
  const members = new Set(state.rings.flat());
  let hasGrown = false;
  const rings = state.rings.map((ring, i) => {
    const step = stepsOf(spec)[i];
    const added = step === undefined ? [] : addedBy(step, nodes, members);
    if (added.length === 0) return ring;
    hasGrown = true;
    for (const node of added) members.add(node);
    return [...ring, ...added];
  });
  return hasGrown ? { ...state, rings } : state;
}

/** The time since the last look is that of the stage that it was in. */
function live(state: RolloutState, spec: RolloutSpec, nodes: readonly RolloutNode[], elapsedMs: number): RolloutState {
  const spent = state.stage === 'waiting' ? 'waitedMs' : 'watchedMs';
  const members = membersOf(state.rings.flat(), nodes);
  const stage = isReady(members, spec, nodes) ? 'watching' : 'waiting';
  const lived: RolloutState = { ...state, stage, [spent]: state[spent] + elapsedMs };
  const steps = stepsOf(spec);
  const step = steps[state.step];
  if (step === undefined) return lived;
  if (stage === 'waiting') return lived.waitedMs < step.timeout ? lived : timeOut(lived, spec, members);
  if (lived.watchedMs < step.for) return lived;
  return state.step + 1 < steps.length
    ? enter(lived, state.step + 1, spec, nodes)
    : endRollout(lived, 'succeeded', null);
}

function timeOut(state: RolloutState, spec: RolloutSpec, members: readonly RolloutNode[]): RolloutState {
  const acknowledged = members.filter(node => node.acknowledged).length;
  const reason = `${titleOf(spec, state.step)}: ${acknowledged} of ${members.length} nodes acknowledged it in time`;
  return spec.onTimeout === 'pause' ? pauseRollout(state, reason) : endRollout(state, 'rolled-back', reason);
}

function isReady(members: readonly RolloutNode[], spec: RolloutSpec, nodes: readonly RolloutNode[]): boolean {
  const acknowledged = members.filter(node => node.acknowledged).length;
  const needed = nodes.length === 0 ? 0 : Math.max(1, Math.min(spec.minNodes, members.length));
  const isHeld = members.some(node => !node.acknowledged && (node.reachable || spec.offline === 'wait'));
  return acknowledged >= needed && !isHeld;
}

/** Looked for among the nodes that the present step added, whom the others would drown, and among all. */
function breachOf(state: RolloutState, spec: RolloutSpec, nodes: readonly RolloutNode[]): string | undefined {
  const all = membersOf(state.rings.flat(), nodes);
  const refusing = all.find(node => node.refused !== undefined);
  if (refusing !== undefined) return `${refusing.id} refused it: ${refusing.refused}`;
  const added = state.step === 0 ? [] : membersOf(state.rings[state.step] ?? [], nodes);
  for (const group of [added, all]) {
    for (const sign of signs) {
      const { since } = sharesOf(group, sign);
      const before = expectedShare(group.flatMap(({ signs }) => (signs === undefined ? [] : [signs[sign]])));
      const limit = spec.maxRise[`${sign}Percent`] / 100;
      if (since.all >= spec.minRequests && hasRisen(before, since, limit)) {
        return `${titleOf(spec, state.step)}: ${sign} rose from ${printShare(before)} to ${printShare(since)}`;
      }
    }
  }
  return undefined;
}

/** What a group of nodes saw, added up. */
export function sharesOf(group: readonly RolloutNode[], sign: Sign): { readonly before: Share; readonly since: Share } {
  const sum = (when: 'before' | 'since'): Share => {
    let bad = 0;
    let all = 0;
    for (const node of group) {
      bad += node.signs?.[sign][when].bad ?? 0;
      all += node.signs?.[sign][when].all ?? 0;
    }
    return { bad, all };
  };
  return { before: sum('before'), since: sum('since') };
}

function membersOf(ring: readonly string[], nodes: readonly RolloutNode[]): RolloutNode[] {
  const ids = new Set(ring);
  return nodes.filter(node => ids.has(node.id));
}

/** `step 1 of 3 (10% of the nodes)` */
function titleOf(spec: RolloutSpec, step: number): string {
  const steps = stepsOf(spec);
  const at = steps[step];
  return `step ${step + 1} of ${steps.length} (${at === undefined ? '-' : titleOfStep(at)})`;
}

export function titleOfStep(step: RolloutStep): string {
  return step.name ?? describeRing(step);
}

function printShare(share: Share): string {
  return `${Number((rateOf(share) * 100).toFixed(2))}% (${Math.round(share.bad)} of ${Math.round(share.all)})`;
}

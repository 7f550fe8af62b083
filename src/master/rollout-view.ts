import { describeRing } from '../lifecycle/rings.ts';
import { type RolloutNode, type RolloutState, sharesOf, stepsOf, titleOfStep } from '../lifecycle/rollout.ts';
import type { CallCounts, RolloutSpec, RolloutView } from '../model/rollout.ts';
import type { DocumentRef } from '../store/documents.ts';
import type { StoredRollout } from '../store/rollouts.ts';

/** What the API shows of a rollout; `nodes` is how the fleet is now. */
export function viewRollout(rollout: StoredRollout, nodes: readonly RolloutNode[]): RolloutView {
  const { name, spec, state, by, startedAt, endedAt } = rollout;
  const ids = new Set(state.rings.flat());
  const isOver = endedAt !== null;
  const members = isOver ? [] : nodes.filter(node => ids.has(node.id));
  return {
    name,
    phase: state.phase,
    changes: rollout.changes.map(change => ({
      change: change.json === null ? 'remove' : 'put',
      document: nameOfChange(change),
    })),
    step: state.step + 1,
    steps: stepsOf(spec).map((step, i) => ({
      title: titleOfStep(step),
      forMs: step.for,
      timeoutMs: step.timeout,
      nodes: [...(state.rings[i] ?? [])],
    })),
    stage: state.stage,
    stageMs: state.stage === 'waiting' ? state.waitedMs : state.watchedMs,
    acknowledged: members.filter(node => node.acknowledged).length,
    reachable: members.filter(node => node.reachable).length,
    nodes: ids.size,
    before: callsOf(members, 'before'),
    since: callsOf(members, 'since'),
    reason: state.reason,
    by,
    startedAt,
    endedAt,
  };
}

/** `AuthorizationPolicy default/no-entry` */
export function nameOfChange({ kind, namespace, name }: DocumentRef): string {
  return `${kind} ${namespace}/${name}`;
}

function callsOf(members: readonly RolloutNode[], when: 'before' | 'since'): CallCounts {
  const denied = sharesOf(members, 'denied')[when];
  const errors = sharesOf(members, 'errors')[when];
  return { decisions: denied.all, denied: denied.bad, requests: errors.all, errors: errors.bad };
}

/** `step 1 of 3 (10% of the nodes): pi-1, pi-2`, for events. */
export function describeStep(spec: RolloutSpec, { step, rings }: RolloutState): string {
  const steps = stepsOf(spec);
  const at = steps[step];
  const added = rings[step] ?? [];
  const names = added.length === 0 ? 'no node' : describeRing({ nodes: added });
  return `step ${step + 1} of ${steps.length} (${at === undefined ? '-' : titleOfStep(at)}): ${names}`;
}

import type { UpdateRules } from '../model/job-life.ts';

/** A task of a job that is being updated. */
export interface UpdateTask {
  readonly id: string;
  readonly label: string;
  /** Made from the version that is to be. */
  readonly isNew: boolean;
  /** Neither ended nor about to be. */
  readonly live: boolean;
  /** Ended by itself: of a service that is a failure. */
  readonly failed: boolean;
  readonly ready: boolean;
  /** Why it is as it is. */
  readonly message: string | undefined;
}

/** What was seen of a new task, in time that was lived through. */
export interface UpdateWatch {
  readonly wasReady: boolean;
  readonly readyMs: number;
  /** Since it was started, or was well. */
  readonly waitedMs: number;
}

/** Of a task that has just been started. */
export const newWatch: UpdateWatch = { wasReady: false, readyMs: 0, waitedMs: 0 };

/** `reverting`: the version that is to be is the one before. */
export type UpdatePhase = 'canary' | 'rolling' | 'reverting';

export interface UpdateState {
  readonly phase: UpdatePhase;
  /** By task id; what ends by itself without having been watched is of an earlier update. */
  readonly watches: ReadonlyMap<string, UpdateWatch>;
}

export interface UpdateLook {
  readonly state: UpdateState;
  /** Labels that are to get a task of the new version, and tasks that are to end. */
  readonly start: readonly string[];
  readonly stop: readonly string[];
  /** `waits`: for an operator to promote it. */
  readonly verdict: 'goes on' | 'waits' | 'done' | { readonly failed: string };
  /** New tasks that have got well. */
  readonly healthy: number;
}

export function beginUpdate({ canary }: Pick<UpdateRules, 'canary'>): UpdateState {
  return { phase: canary > 0 ? 'canary' : 'rolling', watches: new Map() };
}

/** The next look at an update, `elapsedMs` after the one before. `labels` are those that the new version wants. */
export function lookAtUpdate(
  rules: UpdateRules,
  labels: readonly string[],
  tasks: readonly UpdateTask[],
  state: UpdateState,
  elapsedMs: number,
): UpdateLook {
  const fresh = tasks.filter(task => task.isNew && (task.live || (task.failed && state.watches.has(task.id))));
  const watches = new Map(fresh.map(task => [task.id, watched(rules, state.watches.get(task.id), task, elapsedMs)]));
  const isWell = ({ id }: UpdateTask) => (watches.get(id)?.readyMs ?? 0) >= rules.minHealthyTime;
  const newOnes = fresh.filter(task => task.live);
  const well = new Set(newOnes.filter(each => each.ready && isWell(each)).map(task => task.label));
  const look = { state: { ...state, watches }, start: [], stop: [], healthy: well.size };
  const failed = failureOf(rules, fresh, watches);
  if (failed !== undefined) return { ...look, verdict: { failed } };

  const old = tasks.filter(task => task.live && !task.isNew);
  if (old.length === 0 && labels.every(label => well.has(label))) return { ...look, verdict: 'done' };
  // what has brought a version back serves nobody
  const idle = state.phase === 'reverting' ? old.filter(task => !task.ready) : [];
  const begun = new Set(newOnes.map(task => task.label));
  const served = new Set([...begun, ...old.filter(task => !idle.includes(task)).map(task => task.label)]);
  const unserved = labels.filter(label => !served.has(label));
  const open = labels.filter(label => served.has(label) && !begun.has(label));

  if (state.phase === 'canary') {
    const canaries = labels.slice(0, rules.canary);
    if (canaries.every(label => well.has(label)) && rules.autoPromote)
      return lookAtUpdate(rules, labels, tasks, { phase: 'rolling', watches }, 0);
    const start = [...unserved, ...open.filter(label => canaries.includes(label))];
    return { ...look, start, verdict: canaries.every(label => well.has(label)) ? 'waits' : 'goes on' };
  }
  const room = Math.max(0, rules.maxParallel - (begun.size - well.size));
  const start = [...unserved, ...open.slice(0, room)];
  const isOver = ({ label }: UpdateTask) => well.has(label) || !labels.includes(label);
  const makesRoom = ({ label }: UpdateTask) => rules.order === 'stopFirst' && start.includes(label);
  const stop = old.filter(task => isOver(task) || makesRoom(task) || idle.includes(task)).map(task => task.id);
  return { ...look, start, stop, verdict: 'goes on' };
}

function watched(
  { minHealthyTime }: UpdateRules,
  before: UpdateWatch = newWatch,
  { ready }: UpdateTask,
  elapsedMs: number,
): UpdateWatch {
  const readyMs = ready && before.wasReady ? before.readyMs + elapsedMs : 0;
  const isWell = ready && readyMs >= minHealthyTime;
  return { wasReady: ready, readyMs, waitedMs: isWell ? 0 : before.waitedMs + elapsedMs };
}

function failureOf(
  { healthyDeadline }: UpdateRules,
  fresh: readonly UpdateTask[],
  watches: ReadonlyMap<string, UpdateWatch>,
): string | undefined {
  for (const { id, failed, message } of fresh) {
    const said = message === undefined ? '' : `: ${message}`;
    if (failed) return `task ${id} has failed${said}`;
    const { waitedMs } = watches.get(id) ?? newWatch;
    if (waitedMs > healthyDeadline) return `task ${id} was not ready within ${healthyDeadline / 1000} s${said}`;
  }
  return undefined;
}

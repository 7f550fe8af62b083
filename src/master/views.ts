import type { JobView, NodeView, PlannedTask, TaskView } from '../model/api.ts';
import type { Job } from '../model/document.ts';
import { isDrained } from '../model/drain.ts';
import { taskTypeOf } from '../model/job.ts';
import type { JobUpdateView } from '../model/job-update.ts';
import type { Birth } from '../model/message.ts';
import type { Resources } from '../model/resources.ts';
import { noResources } from '../model/resources.ts';
import { parseRunLabel } from '../model/run-label.ts';
import { isTerminal } from '../model/task.ts';
import { withSlots } from '../model/task-slots.ts';
import type { Waiting } from '../scheduling/offers.ts';
import type { Plan } from '../scheduling/plan.ts';
import { endByProgress } from '../scheduling/progress.ts';
import type { TaskRecord } from '../store/task-record.ts';
import { nextDue } from './cron.ts';
import { labelsWanted, resourcesOf } from './expand-job.ts';
import type { FleetNode } from './fleet.ts';
import type { PreviewedTask } from './jobs.ts';
import type { HeardProgress } from './task-progress.ts';
import { taskOf } from './task-spec.ts';

/** What the API shows of a node that has introduced itself. */
export function viewNode(
  node: FleetNode,
  free: Resources | undefined,
  tasks: Pick<NodeView, 'tasks' | 'systemTasks'>,
): NodeView | undefined {
  const { id, labels, birth, usage, stock, spent, state, lastSeen, joinedAt, quarantine, drain, ahead } = node;
  if (birth === null || usage === null) return undefined;
  return {
    node: id,
    state: state === 'joined' ? 'unreachable' : state,
    ...(quarantine !== null && { quarantine }),
    ...(drain && { drain }),
    ...(ahead && { ahead }),
    version: birth.version,
    ...(birth.bundle !== undefined && { bundle: birth.bundle }),
    profile: birth.profile,
    ...(birth.speed !== undefined && { speed: birth.speed }),
    ...(stock && { artifacts: { count: Object.keys(stock.holds).length, bytesPerSecond: stock.bytesPerSecond } }),
    ...(spent && { spent }),
    address: birth.address,
    meshPort: birth.meshPort,
    attributes: { ...birth.attributes, ...labels },
    inventory: birth.inventory,
    total: withSlots(birth.total),
    free: free ?? noResources,
    usage,
    ...(birth.controllers && { controllers: birth.controllers }),
    ...warningsOf(birth),
    boot: birth.boot,
    lastSeen,
    joinedAt,
    ...tasks,
  };
}

function warningsOf({ warnings = [], refusedBundle }: Birth): Pick<NodeView, 'warnings'> {
  const refused = refusedBundle && `the agent does not run ${refusedBundle.bundle.slice(0, 12)}…: ${refusedBundle.why}`;
  const all = refused === undefined ? warnings : [...warnings, refused];
  return all.length === 0 ? {} : { warnings: all };
}

/** What a task's own words leave out: that its node is not heard, or is to be emptied. */
export function noteOnTask(
  { state, drain = null, ahead = null }: FleetNode,
  type: TaskView['type'],
  now: number,
): string | undefined {
  if (state === 'quarantined') return 'as last heard: its node is in quarantine';
  if (state !== 'ready') return 'as last heard: its node is unreachable';
  if (ahead !== null) return 'as last heard: its node is to be taken over';
  if (!isDrained(drain, now)) return undefined;
  return type === 'batch' ? 'its node is drained' : 'its node is drained: it ends when another is ready elsewhere';
}

export function viewTask(
  task: TaskRecord,
  job: Job | undefined,
  {
    waiting,
    note,
    progress,
  }: {
    readonly waiting?: Waiting | undefined;
    readonly note?: string | undefined;
    readonly progress?: HeardProgress | undefined;
  },
): TaskView {
  const { spec } = task;
  const told = isTerminal(task.state) ? undefined : progress;
  const waits = task.node === null && !isTerminal(task.state);
  return {
    id: task.id,
    job: task.job,
    namespace: task.namespace,
    type: task.type,
    label: task.label,
    priority: task.priority,
    node: task.node,
    state: task.stopping && !isTerminal(task.state) ? 'TASK_KILLING' : task.state,
    ready: task.ready,
    restarts: task.restarts,
    reason: task.reason,
    message: task.message ?? (waits ? (waiting?.why ?? null) : null),
    exitCode: task.exitCode,
    ports: spec?.ports.map(({ name, number }) => ({ name, number })) ?? [],
    resources: spec?.resources ?? (job ? resourcesOf(taskOf(job, task.label).needs) : noResources),
    submittedAt: task.submittedAt,
    startedAt: task.startedAt,
    endedAt: task.endedAt,
    expectedEndAt: expectedEnd(task, told) ?? waiting?.expected?.endAt ?? null,
    progress: told ?? null,
    ...(note !== undefined && !isTerminal(task.state) && { note }),
    waiting: waits ? (waiting?.reasons.map(({ node, why }) => ({ node, why })) ?? []) : [],
  };
}

function expectedEnd({ type, startedAt, expectedEndAt }: TaskRecord, told: HeardProgress | undefined): number | null {
  if (told === undefined || startedAt === null || type !== 'batch') return expectedEndAt;
  return endByProgress({ startedAt, expectedEndAt, ...told }) ?? null;
}

/** How much of a batch is done, in percent; a task that tells nothing counts when it has ended. */
function progressOf(views: readonly TaskView[], wanted: number, finished: number): number | null {
  if (wanted === 0) return null;
  const running = views.reduce((sum, { progress }) => sum + (progress?.percent ?? 0), 0);
  return Math.min(100, Math.floor((100 * finished + running) / wanted));
}

/** `all` are the tasks of the job; of a periodic one the newest run counts. */
export function viewJob(
  job: Job,
  all: readonly TaskRecord[],
  allViews: readonly TaskView[],
  { createdAt, now }: { readonly createdAt: number; readonly now: number },
  update?: JobUpdateView,
): JobView {
  const { periodic } = job.spec;
  const newest = Math.max(0, ...all.map(({ label }) => parseRunLabel(label)?.at ?? 0));
  const isMeant = ({ label }: { readonly label: string }) => !periodic || parseRunLabel(label)?.at === newest;
  const [tasks, views] = [all.filter(isMeant), allViews.filter(isMeant)];
  const current = tasks.filter(task => !task.stopping);
  const live = current.filter(task => !isTerminal(task.state));
  const ended = (finished: boolean) =>
    current.filter(task => isTerminal(task.state) && (task.state === 'TASK_FINISHED') === finished).length;
  const ends = views.flatMap(view =>
    view.endedAt === null && view.expectedEndAt !== null ? [view.expectedEndAt] : [],
  );
  const isBatch = taskTypeOf(job.spec) === 'batch';
  const wanted =
    job.spec.type === 'system' ? new Set(current.map(({ label }) => label)).size : labelsWanted(job).length;
  return {
    name: job.metadata.name,
    namespace: job.metadata.namespace,
    type: job.spec.type,
    priority: job.spec.priority,
    wanted,
    pending: live.filter(task => task.state !== 'TASK_RUNNING').length,
    running: live.filter(task => task.state === 'TASK_RUNNING').length,
    ready: live.filter(task => task.ready).length,
    finished: ended(true),
    failed: ended(false),
    createdAt,
    expectedEndAt: isBatch && ends.length > 0 ? Math.max(...ends) : null,
    progress: isBatch ? progressOf(views, wanted, ended(true)) : null,
    lastRunAt: newest > 0 ? newest : null,
    update: update ?? null,
    nextRunAt: (periodic && nextDue(periodic, now)) ?? null,
  };
}

/** What a plan says of tasks that are not there yet. */
export function viewPlan(tasks: readonly PreviewedTask[], plan: Plan, now: number): PlannedTask[] {
  const launches = new Map(plan.launches.map(launch => [launch.task, launch]));
  const waiting = new Map(plan.waiting.map(each => [each.task, each]));
  return tasks.map(({ label, pending: { id, job, namespace } }) => {
    const launch = launches.get(id);
    const named = { job, namespace, label };
    if (launch !== undefined) {
      return { ...named, node: launch.node, startAt: now, endAt: launch.expectedEndAt, why: null };
    }
    const { expected = null, why = null } = waiting.get(id) ?? {};
    const { node = null, startAt = null, endAt = null } = expected ?? {};
    return { ...named, node, startAt, endAt, why };
  });
}

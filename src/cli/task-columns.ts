import type { CredentialView, FrameworkView, JobView, RoleView, TaskDetail, TaskView } from '../model/api.ts';
import { printScalar } from '../model/resources.ts';
import { isTerminal } from '../model/task.ts';
import { plain, printAge, printAhead, printDuration, printTime, scalar, shorten } from './readable.ts';
import type { Column } from './table.ts';

const maxWords = 60;

export const jobColumns: readonly Column<JobView>[] = [
  { head: 'JOB', cell: job => job.name },
  { head: 'NAMESPACE', cell: job => job.namespace },
  { head: 'TYPE', cell: job => job.type },
  { head: 'WANTED', cell: job => String(job.wanted), align: 'right' },
  { head: 'PENDING', cell: job => String(job.pending), align: 'right' },
  { head: 'RUNNING', cell: job => String(job.running), align: 'right' },
  { head: 'READY', cell: job => String(job.ready), align: 'right' },
  { head: 'FINISHED', cell: job => String(job.finished), align: 'right' },
  { head: 'FAILED', cell: job => String(job.failed), align: 'right' },
  { head: 'AGE', cell: (job, now) => printAge(job.createdAt, now) },
  { head: 'DONE', cell: job => (job.progress === null ? '-' : `${job.progress}%`), align: 'right' },
  { head: 'ENDS', cell: (job, now) => (isOver(job) ? '-' : printEnd(job.expectedEndAt, now)) },
  { head: 'UPDATE', cell: ({ update }) => (update === null ? '-' : shorten(printUpdate(update), maxWords)) },
  {
    head: 'LAST RUN',
    cell: (job, now) => (job.lastRunAt === null ? '-' : `${printAge(job.lastRunAt, now)} ago`),
    wide: true,
  },
  { head: 'NEXT RUN', cell: (job, now) => (job.nextRunAt === null ? '-' : printAhead(job.nextRunAt, now)), wide: true },
  { head: 'PRIORITY', cell: job => String(job.priority), align: 'right', wide: true },
];

export const taskColumns: readonly Column<TaskView>[] = [
  { head: 'TASK', cell: task => task.id },
  { head: 'STATE', cell: task => task.state },
  { head: 'READY', cell: task => (task.type === 'service' ? (task.ready ? 'yes' : 'no') : '-') },
  { head: 'NODE', cell: task => task.node ?? '-' },
  { head: 'EXIT', cell: task => (task.exitCode === null ? '-' : String(task.exitCode)), align: 'right' },
  { head: 'RESTARTS', cell: task => String(task.restarts), align: 'right' },
  { head: 'RAN', cell: (task, now) => printRan(task, now) },
  {
    head: 'DONE',
    cell: ({ progress }) => (progress === null ? '-' : `${Math.floor(progress.percent)}%`),
    align: 'right',
  },
  { head: 'AGE', cell: (task, now) => printAge(task.submittedAt, now) },
  { head: 'ENDS', cell: (task, now) => (isTerminal(task.state) ? '-' : printEnd(task.expectedEndAt, now)), wide: true },
  { head: 'JOB', cell: task => task.job, wide: true },
  { head: 'NAMESPACE', cell: task => task.namespace, wide: true },
  { head: 'PRIORITY', cell: task => String(task.priority), align: 'right', wide: true },
  { head: 'CPUS', cell: task => plain(scalar(task.resources, 'cpus') / 1000), wide: true },
  { head: 'MEM', cell: task => `${Math.round(scalar(task.resources, 'mem') / 1000)} MB`, wide: true },
  { head: 'PORTS', cell: task => task.ports.map(port => `${port.name}=${port.number}`).join(' '), wide: true },
  { head: 'WHY', cell: task => shorten(printWhy(task), maxWords) },
];

/** A task as one line among many, with its id in `width` places. */
export function taskLine(task: TaskView, width: number, now: number): string {
  const { progress, node, ready } = task;
  const done = progress === null ? '-' : `${Math.floor(progress.percent)}%`;
  const state = task.state + (task.type === 'service' && ready ? ', ready' : '');
  const words = [printTime(now), task.id.padEnd(width), state.padEnd(19), (node ?? '-').padEnd(12), done.padStart(4)];
  return `${words.join('  ')}  ${shorten(printWhy(task), maxWords)}`.trimEnd();
}

export const historyColumns: readonly Column<TaskDetail['history'][number]>[] = [
  { head: 'TIME (UTC)', cell: status => printTime(status.at) },
  { head: 'STATE', cell: status => status.state },
  { head: 'READY', cell: status => (status.ready === undefined ? '-' : status.ready ? 'yes' : 'no') },
  { head: 'EXIT', cell: status => status.signal ?? (status.exitCode === undefined ? '-' : String(status.exitCode)) },
  { head: 'RAN', cell: status => (status.ranMs === undefined ? '-' : printDuration(status.ranMs)) },
  { head: 'DONE', cell: ({ progress }) => (progress === undefined ? '-' : `${progress.percent}%`), align: 'right' },
  { head: 'REASON', cell: status => [status.reason, status.message].filter(Boolean).join(': ') },
];

export const roleColumns: readonly Column<RoleView>[] = [
  { head: 'ROLE', cell: role => role.role },
  { head: 'WEIGHT', cell: role => plain(role.weight), align: 'right' },
  { head: 'SHARE', cell: role => `${Math.round(role.share * 100)}%`, align: 'right' },
  { head: 'HAS', cell: role => printAmounts(role.held) },
  { head: 'GUARANTEED', cell: role => printAmounts(role.guarantees) },
  { head: 'LIMIT', cell: role => printAmounts(role.limits) },
  { head: 'WAITING', cell: role => String(role.waiting), align: 'right' },
  { head: 'PROBLEM', cell: role => role.problem ?? '-' },
];

export const frameworkColumns: readonly Column<FrameworkView>[] = [
  { head: 'FRAMEWORK', cell: framework => framework.name },
  { head: 'STATE', cell: framework => framework.state },
  { head: 'PRINCIPAL', cell: framework => framework.principal },
  { head: 'ROLES', cell: framework => framework.roles.join(',') },
  { head: 'TASKS', cell: framework => String(framework.tasks), align: 'right' },
  { head: 'OFFERS', cell: framework => String(framework.offers), align: 'right' },
  { head: 'AGE', cell: (framework, now) => printAge(framework.registeredAt, now) },
  { head: 'ID', cell: framework => framework.id },
];

export const credentialColumns: readonly Column<CredentialView>[] = [
  { head: 'CREDENTIAL', cell: credential => credential.name },
  { head: 'ROLES', cell: credential => credential.roles?.join(',') ?? 'all' },
  { head: 'AGE', cell: (credential, now) => printAge(credential.createdAt, now) },
];

function printAmounts(amounts: Readonly<Record<string, number>>): string {
  const there = Object.entries(amounts).filter(([, milli]) => milli > 0);
  return there.map(([name, milli]) => printScalar(name, milli)).join(', ') || '-';
}

function printUpdate({ phase, healthy, wanted, waits, reason }: NonNullable<JobView['update']>): string {
  if (waits) return 'canaries are well, to be promoted';
  if (phase === 'canary' || phase === 'rolling') return `${phase} ${healthy}/${wanted}`;
  return reason === null ? phase : `${phase}: ${reason}`;
}

function isOver(job: JobView): boolean {
  return job.pending + job.running === 0;
}

function printEnd(expectedEndAt: number | null, now: number): string {
  return expectedEndAt === null ? '-' : printAhead(expectedEndAt, now);
}

function printRan({ startedAt, endedAt }: TaskView, now: number): string {
  return startedAt === null ? '-' : printDuration(Math.max(0, (endedAt ?? now) - startedAt));
}

/** Why it is as it is: what it says itself, what its node said, or why no node takes it. A task that runs and is ready needs no reason. */
function printWhy({ state, ready, message, reason, waiting, note, progress }: TaskView): string {
  if (note !== undefined && !isTerminal(state)) return note;
  if (state === 'TASK_RUNNING' && progress?.message !== undefined) return progress.message;
  if (state === 'TASK_RUNNING' && ready) return '';
  const said = message ?? reason;
  if (said !== null) return said;
  return waiting.map(({ node, why }) => `${node}: ${why}`).join('; ');
}

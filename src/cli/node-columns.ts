import { dayMs, hourMs } from '../base/clock.ts';
import type { JoinTokenView, JoinView, NodeView } from '../model/api.ts';
import { isDrained } from '../model/drain.ts';
import { countInRanges } from '../model/resources.ts';
import { printMegabytes as printMegabytesOf, sumOf } from '../model/spent.ts';
import { plain, printAge, printAhead, printCores, printMegabytes, scalar } from './readable.ts';
import type { Column } from './table.ts';

export const nodeColumns: readonly Column<NodeView>[] = [
  { head: 'NODE', cell: node => node.node },
  { head: 'STATE', cell: printState },
  { head: 'PROFILE', cell: node => node.profile },
  { head: 'FREE CPUS', cell: ({ free, total }) => printCores(scalar(free, 'cpus'), scalar(total, 'cpus')) },
  { head: 'FREE MEM', cell: ({ free, total }) => printMegabytes(scalar(free, 'mem'), scalar(total, 'mem')) },
  { head: 'FREE DISK', cell: ({ free, total }) => printMegabytes(scalar(free, 'disk'), scalar(total, 'disk')) },
  { head: 'FREE PORTS', cell: node => String(countInRanges(node.free.ranges.ports ?? [])) },
  { head: 'CPU', cell: node => `${Math.round(node.usage.cpu * 100)}%`, align: 'right' },
  { head: 'TASKS', cell: node => String(node.tasks), align: 'right' },
  { head: 'SEEN', cell: (node, now) => `${printAge(node.lastSeen, now)} ago` },
  { head: 'AGE', cell: (node, now) => printAge(node.joinedAt, now) },
  { head: 'ADDRESS', cell: node => `${node.address}:${node.meshPort}`, wide: true },
  { head: 'ARCH', cell: node => node.inventory.arch, wide: true },
  { head: 'OS', cell: node => node.inventory.os, wide: true },
  { head: 'MEM USED', cell: node => `${Math.round(node.usage.memUsedMb)} MB`, wide: true },
  { head: 'AGENT', cell: node => `${Math.round(node.usage.agentRssMb)} MB`, wide: true },
  {
    head: 'TEMP',
    cell: ({ usage: { temperatureC, throttled } }) =>
      (temperatureC === undefined ? '-' : `${plain(temperatureC)} °C`) + (throttled === 1 ? ', throttled' : ''),
    wide: true,
  },
  { head: 'BOOT', cell: node => String(node.boot), wide: true },
  {
    head: 'VERSION',
    cell: ({ version, bundle }) => (bundle === undefined ? version : `${version} (${bundle.slice(0, 12)}…)`),
    wide: true,
  },
  { head: 'ATTRIBUTES', cell: node => printLabels(node.attributes), wide: true },
  { head: 'LIMITS', cell: node => node.controllers?.join(', ') || '-', wide: true },
  { head: 'SPEED', cell: ({ speed }) => (speed === undefined ? '-' : plain(speed)), wide: true },
  {
    head: 'ARTIFACTS',
    cell: ({ artifacts }) => (artifacts === undefined ? '-' : printArtifacts(artifacts)),
    wide: true,
  },
  { head: 'WRITTEN', cell: ({ spent }) => (spent === undefined ? '-' : printWritten(spent.disk)), wide: true },
  { head: 'DATA', cell: ({ spent }) => (spent?.link === undefined ? '-' : printData(spent.link)), wide: true },
  { head: 'WARNINGS', cell: node => node.warnings?.join('; ') || '-', wide: true },
  { head: 'QUARANTINE', cell: node => node.quarantine ?? '-', wide: true },
];

/** Nodes that wait for an operator; the id is the beginning of the key that the node shows in its own log. */
export const joinColumns: readonly Column<JoinView>[] = [
  { head: 'ID', cell: join => join.id },
  { head: 'STATE', cell: join => join.state },
  { head: 'NODE', cell: join => join.node },
  { head: 'PROFILE', cell: join => join.profile ?? '-' },
  { head: 'LABELS', cell: join => printLabels(join.labels) },
  { head: 'TOKEN', cell: join => join.token },
  { head: 'AGE', cell: (join, now) => printAge(join.at, now) },
  { head: 'EXPIRES', cell: (join, now) => printAhead(join.expiresAt, now) },
  { head: 'REASON', cell: join => join.reason ?? '-', wide: true },
];

export const tokenColumns: readonly Column<JoinTokenView>[] = [
  { head: 'ID', cell: token => token.id },
  { head: 'STATE', cell: token => token.state },
  { head: 'USED', cell: token => `${token.used}/${token.uses}` },
  { head: 'ONLY FOR', cell: token => printConditions(token) },
  { head: 'APPROVAL', cell: token => (token.approve ? 'yes' : 'no') },
  { head: 'LABELS', cell: token => printLabels(token.labels) },
  { head: 'AGE', cell: (token, now) => printAge(token.createdAt, now) },
  { head: 'EXPIRES', cell: (token, now) => (token.state === 'expired' ? '-' : printAhead(token.expiresAt, now)) },
];

/** `ready`, and what becomes of it: `draining` while it has tasks that can leave it, `drained`, `drained in 2h`; `ahead` of this master. */
function printState({ state, ahead, drain, tasks, systemTasks = 0 }: NodeView, now: number): string {
  if (ahead !== undefined) return `${state}, ahead`;
  if (drain !== undefined && drain.from > now) return `${state}, drained ${printAhead(drain.from, now)}`;
  return isDrained(drain ?? null, now) ? `${state}, ${tasks > systemTasks ? 'draining' : 'drained'}` : state;
}

/** `3, at 1.2 MB/s` */
function printArtifacts({ count, bytesPerSecond }: NonNullable<NodeView['artifacts']>): string {
  return bytesPerSecond === undefined ? `${count}` : `${count}, at ${(bytesPerSecond / 1e6).toFixed(1)} MB/s`;
}

type NodeSpent = NonNullable<NodeView['spent']>;

/** Of the last 24 hours, and what a year of such days takes of the disk's life: `1.2 MB/day, 0.3% of its life a year`, `0.1 MB in 2 h, …` */
function printWritten({ byPurpose, sinceMs = dayMs, lifePerYear }: NodeSpent['disk']): string {
  const during = sinceMs < dayMs ? ` in ${Math.ceil(sinceMs / hourMs)} h` : '/day';
  const written = `${printMegabytesOf(sumOf(byPurpose))}${during}`;
  return lifePerYear === undefined ? written : `${written}, ${plain(lifePerYear * 100)}% of its life a year`;
}

/** Of the last hour, and where that is paid for what the last 24 hours took of what they should: `34 KB/h, metered: 0.5 of 1.7 MB/day` */
function printData({ byPurpose, dayBytes, metered, budgetBytes = 0 }: NonNullable<NodeSpent['link']>): string {
  const perHour = `${(sumOf(byPurpose) / 1000).toFixed(0)} KB/h`;
  if (!metered) return perHour;
  return `${perHour}, metered: ${(dayBytes / 1e6).toFixed(1)} of ${printMegabytesOf(budgetBytes)}/day`;
}

function printLabels(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

function printConditions({ node, profile, requires }: JoinTokenView): string {
  const named = [node === null ? '' : `node ${node}`, profile === null ? '' : `profile ${profile}`];
  return [...named, printLabels(requires)].filter(text => text !== '').join(', ');
}

import type { AccessRecord } from '../model/access.ts';
import type {
  AuditEntry,
  CredentialView,
  FrameworkView,
  JobView,
  JoinTokenView,
  JoinView,
  NodeView,
  PolicyView,
  TaskDetail,
  TaskView,
} from '../model/api.ts';
import type { AuthorityView, CertificateView } from '../model/certificate.ts';
import { isDrained } from '../model/drain.ts';
import type { FleetEvent } from '../model/event.ts';
import { countInRanges, type Resources } from '../model/resources.ts';
import type { RolloutView } from '../model/rollout.ts';
import type { Endpoint, ServiceDocument } from '../model/service.ts';
import { isTerminal } from '../model/task.ts';
import {
  plain,
  printAge,
  printAhead,
  printCores,
  printDuration,
  printMegabytes,
  printTime,
  shorten,
} from './readable.ts';
import type { Column } from './table.ts';

const scalar = (resources: Resources, name: string) => resources.scalars[name] ?? 0;
const maxWords = 60;

export const nodeColumns: readonly Column<NodeView>[] = [
  { head: 'NODE', cell: node => node.node },
  { head: 'STATE', cell: (node, now) => (isDrained(node.drain ?? null, now) ? `${node.state}, drained` : node.state) },
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
  { head: 'VERSION', cell: node => node.version, wide: true },
  { head: 'ATTRIBUTES', cell: node => printLabels(node.attributes), wide: true },
  { head: 'QUARANTINE', cell: node => node.quarantine ?? '-', wide: true },
];

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
  { head: 'AGE', cell: (job, now) => printAge(job.submittedAt, now) },
  { head: 'ENDS', cell: (job, now) => (isOver(job) ? '-' : printEnd(job.expectedEndAt, now)) },
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

export const historyColumns: readonly Column<TaskDetail['history'][number]>[] = [
  { head: 'TIME (UTC)', cell: status => printTime(status.at) },
  { head: 'STATE', cell: status => status.state },
  { head: 'READY', cell: status => (status.ready === undefined ? '-' : status.ready ? 'yes' : 'no') },
  { head: 'EXIT', cell: status => status.signal ?? (status.exitCode === undefined ? '-' : String(status.exitCode)) },
  { head: 'RAN', cell: status => (status.ranMs === undefined ? '-' : printDuration(status.ranMs)) },
  { head: 'REASON', cell: status => [status.reason, status.message].filter(Boolean).join(': ') },
];

export const serviceColumns: readonly Column<ServiceDocument>[] = [
  { head: 'SERVICE', cell: service => service.name },
  { head: 'NAMESPACE', cell: service => service.namespace },
  { head: 'HOST', cell: service => `${service.name}.${service.namespace}.mesh` },
  { head: 'PROTOCOL', cell: service => service.protocol },
  { head: 'ENDPOINTS', cell: service => service.endpoints.map(printEndpoint).join(', ') },
  { head: 'IDENTITY', cell: service => service.spiffeId, wide: true },
];

export const policyColumns: readonly Column<PolicyView>[] = [
  { head: 'POLICY', cell: policy => policy.name },
  { head: 'NAMESPACE', cell: policy => policy.namespace },
  { head: 'KIND', cell: policy => policy.kind },
  { head: 'ACTION', cell: policy => policy.action },
  { head: 'ENFORCED', cell: printEnforced },
  { head: 'WOULD', cell: printShadow },
  { head: 'REVISION', cell: policy => String(policy.revision), align: 'right', wide: true },
  { head: 'PROBLEM', cell: printProblem },
];

export const rolloutColumns: readonly Column<RolloutView>[] = [
  { head: 'ROLLOUT', cell: rollout => rollout.name },
  { head: 'PHASE', cell: rollout => rollout.phase },
  { head: 'STEP', cell: ({ step, steps }) => `${step}/${steps.length}` },
  { head: 'NODES', cell: rollout => String(rollout.nodes), align: 'right' },
  { head: 'BY', cell: rollout => rollout.by },
  { head: 'AGE', cell: (rollout, now) => printAge(rollout.startedAt, now) },
  { head: 'CHANGES', cell: ({ changes }) => shorten(changes.map(each => each.document).join(', '), maxWords) },
  { head: 'REASON', cell: rollout => rollout.reason ?? '-' },
];

export const auditColumns: readonly Column<AuditEntry>[] = [
  { head: 'TIME (UTC)', cell: entry => printTime(entry.kind === 'gap' ? entry.at : entry.record.at) },
  { head: 'NODE', cell: entry => entry.node },
  { head: 'VERDICT', cell: ofAccess('gap', record => record.verdict) },
  { head: 'STATUS', cell: ofAccess('', ({ status }) => (status === 0 ? '-' : String(status))), align: 'right' },
  { head: 'SOURCE', cell: ofAccess('', ({ source, sourceIp }) => (source === '-' ? sourceIp : source)) },
  { head: 'DESTINATION', cell: ofAccess('', record => record.destination) },
  { head: 'REQUEST', cell: ofAccess('', ({ method, host, path }) => shorten(`${method} ${host}${path}`, maxWords)) },
  { head: 'RULE', cell: entry => (entry.kind === 'gap' ? entry.reason : entry.record.rule) },
  { head: 'IN SHADOW', cell: ofAccess('', printShadows), wide: true },
  { head: 'TOOK', cell: ofAccess('', record => printDuration(record.durationMs)), wide: true },
  { head: 'IN', cell: ofAccess('', record => `${record.bytesReceived} B`), wide: true },
  { head: 'OUT', cell: ofAccess('', record => `${record.bytesSent} B`), wide: true },
  { head: 'DIRECTION', cell: ofAccess('', record => record.direction), wide: true },
  { head: 'FLAGS', cell: ofAccess('', record => record.flags), wide: true },
  { head: 'REQUEST ID', cell: ofAccess('', record => record.requestId), wide: true },
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

export const eventColumns: readonly Column<FleetEvent>[] = [
  { head: 'TIME (UTC)', cell: event => printTime(event.at) },
  { head: 'SEVERITY', cell: event => event.severity },
  { head: 'KIND', cell: event => event.kind },
  { head: 'NODE', cell: event => event.node ?? '-' },
  { head: 'COUNT', cell: event => String(event.count), align: 'right' },
  { head: 'MESSAGE', cell: event => event.message },
];

/** A cell of a record; where records are missing it says `gap`. */
function ofAccess(gap: string, cell: (record: AccessRecord) => string): (entry: AuditEntry) => string {
  return entry => (entry.kind === 'gap' ? gap : cell(entry.record));
}

export const certificateColumns: readonly Column<CertificateView>[] = [
  { head: 'IDENTITY', cell: certificate => certificate.spiffeId },
  { head: 'KIND', cell: certificate => certificate.kind },
  { head: 'NODE', cell: certificate => certificate.node ?? '-' },
  { head: 'STATE', cell: certificate => certificate.state },
  { head: 'EXPIRES', cell: ({ notAfter }, now) => (notAfter <= now ? 'over' : printAhead(notAfter, now)) },
  { head: 'AGE', cell: (certificate, now) => printAge(certificate.issuedAt, now) },
  { head: 'SERIAL', cell: certificate => certificate.serial },
  { head: 'NOT AFTER (UTC)', cell: certificate => printTime(certificate.notAfter), wide: true },
  { head: 'REVOKED (UTC)', cell: ({ revokedAt }) => (revokedAt === null ? '-' : printTime(revokedAt)), wide: true },
  { head: 'ISSUER', cell: certificate => certificate.issuer, wide: true },
];

export const generationColumns: readonly Column<AuthorityView['generations'][number]>[] = [
  { head: 'STATE', cell: each => each.state },
  { head: 'SIGNS', cell: each => (each.signing ? 'yes' : 'no') },
  { head: 'ROOT', cell: each => each.root.sha256.slice(0, 16) },
  { head: 'ROOT ENDS', cell: (each, now) => printAhead(each.root.notAfter, now) },
  { head: 'ISSUING ENDS', cell: (each, now) => printAhead(each.issuing.notAfter, now) },
  { head: 'SIGNER ENDS', cell: (each, now) => printAhead(each.config.notAfter, now) },
  { head: 'ISSUING SERIAL', cell: each => each.issuing.serial, wide: true },
  { head: 'SIGNER SERIAL', cell: each => each.config.serial, wide: true },
];

function printLabels(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

function printConditions({ node, profile, requires }: JoinTokenView): string {
  const named = [node === null ? '' : `node ${node}`, profile === null ? '' : `profile ${profile}`];
  return [...named, printLabels(requires)].filter(text => text !== '').join(', ');
}

/** `3/4 nodes`, and what a rollout makes of it on others: `3/4 nodes, policy-7 on 1`. */
function printEnforced({ enforcedOn, nodes, rollout }: PolicyView): string {
  const enforced = `${enforcedOn}/${nodes} nodes`;
  if (rollout === undefined) return enforced;
  return `${enforced}, ${rollout.name}${rollout.change === 'remove' ? ' without it' : ''} on ${rollout.nodes.length}`;
}

/** What keeps it from holding: on the master, and `node: reason` where a node refused it. */
function printProblem({ problem, refusals }: PolicyView): string {
  const refused = refusals.map(({ node, reason }) => `${node}: ${reason}`);
  return [...(problem === undefined ? [] : [problem]), ...refused].join('; ');
}

function printEndpoint(endpoint: Endpoint): string {
  return `${endpoint.node} (${endpoint.address}:${endpoint.port})`;
}

/** What policies that decide nothing said of a call. */
function printShadows({ audited, shadow }: AccessRecord): string {
  const dry = shadow === undefined ? [] : [`${shadow.verdict} by ${shadow.rule}`];
  return [...(audited === undefined ? [] : [`audited by ${audited}`]), ...dry].join('; ');
}

/** What a policy that decides nothing would have done. */
function printShadow({ kind, action, shadow }: PolicyView): string {
  if (shadow === undefined) return '-';
  const of = `of ${count(shadow.calls)}`;
  if (kind === 'RateLimit') return `limit ${count(shadow.denied)} ${of}`;
  if (action.startsWith('AUDIT')) return `audit ${count(shadow.audited)} ${of}`;
  const allowing = shadow.allowed === 0 ? '' : `allow ${count(shadow.allowed)}, `;
  return `${allowing}deny ${count(shadow.denied)} ${of}`;
}

/** `12,480` */
function count(number: number): string {
  return number.toLocaleString('en-US');
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

/** Why it is as it is: what its node said, or why no node takes it. A task that runs and is ready needs no reason. */
function printWhy({ state, ready, message, reason, waiting }: TaskView): string {
  if (state === 'TASK_RUNNING' && ready) return '';
  const said = message ?? reason;
  if (said !== null) return said;
  return waiting.map(({ node, why }) => `${node}: ${why}`).join('; ');
}

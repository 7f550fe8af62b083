import type { AccessRecord } from '../model/access.ts';
import type { AuditEntry, PolicyView } from '../model/api.ts';
import type { AuthorityView, CertificateView } from '../model/certificate.ts';
import type { FleetEvent } from '../model/event.ts';
import type { RolloutView } from '../model/rollout.ts';
import type { Endpoint, ServiceDocument } from '../model/service.ts';
import { printAge, printAhead, printDuration, printTime, shorten } from './readable.ts';
import type { Column } from './table.ts';

const maxWords = 60;

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

/** What README.md says in tables is what the program has. */
import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { auditBounds, defaultAuditSettings } from '../src/agent/audit-trail.ts';
import { defaultArtifactBytes } from '../src/agent/config.ts';
import { retiredBounds } from '../src/agent/task-directories.ts';
import { environmentOf } from '../src/agent/task-environment.ts';
import { identityVariable } from '../src/agent/task-identities.ts';
import { defaultPids } from '../src/agent/task-limits.ts';
import { reportBounds } from '../src/agent/task-reports.ts';
import { secretsVariable } from '../src/agent/task-secrets.ts';
import { errorCodes, MesoliteError } from '../src/base/errors.ts';
import { defaultLimits } from '../src/broker/limits.ts';
import { maxCaseFileBytes } from '../src/cli/case-file.ts';
import { maxDocuments } from '../src/cli/document-files.ts';
import { exitCodes } from '../src/cli/exit-codes.ts';
import { maxPorts } from '../src/device/capacity.ts';
import { defaultLogRate } from '../src/device/task-log.ts';
import { requestBounds } from '../src/identity/request.ts';
import { artifactApiBounds } from '../src/master/api/artifact-routes.ts';
import { answerOf } from '../src/master/api/errors.ts';
import { installApiBounds } from '../src/master/api/install-routes.ts';
import { apiBounds } from '../src/master/api/server.ts';
import { artifactStoreBounds } from '../src/master/artifacts.ts';
import { maxGenerations } from '../src/master/authority-file.ts';
import { bookBounds } from '../src/master/certificate-book.ts';
import { perHour } from '../src/master/certificates.ts';
import { defaultAuditKeeping } from '../src/master/config.ts';
import { eventBounds } from '../src/master/events.ts';
import { installerBounds } from '../src/master/installer.ts';
import { joinGuardBounds } from '../src/master/join-guard.ts';
import { mesosBounds, mesosTimes } from '../src/master/mesos/bounds.ts';
import { maxCredentials } from '../src/master/operators.ts';
import { renewalBounds } from '../src/master/renewals.ts';
import { keepRollouts } from '../src/master/rollouts.ts';
import { artifactBounds } from '../src/model/artifact.ts';
import { jobSpecSchema } from '../src/model/job.ts';
import { messageBounds } from '../src/model/message.ts';
import { rolloutBounds } from '../src/model/rollout.ts';
import { maxTasksPerNode, slotBytes } from '../src/model/task-slots.ts';
import { warningCodes } from '../src/model/warning.ts';
import { maxYamlBytes } from '../src/model/yaml-text.ts';
import { maxSeries } from '../src/proxy/counters.ts';
import { maxFixedBuckets, maxVaryingBuckets } from '../src/proxy/limits.ts';
import { maxTrailerBytes } from '../src/proxy/wire/chunks.ts';
import { maxHeadBytes, maxHeaders } from '../src/proxy/wire/head.ts';
import { maxFrameBytes } from '../src/proxy/wire/mux/frame.ts';
import { maxBacklogBytes } from '../src/proxy/wire/mux/session.ts';
import { maxEstimates } from '../src/scheduling/estimates.ts';
import { joinQueueBounds } from '../src/store/join-requests.ts';
import { maxTokens } from '../src/store/join-tokens.ts';
import { maxProgramSize } from '../src/traffic/regex.ts';
import { run } from './fixtures/cli-run.ts';
import { codeIn, fencesOf, tablesUnder } from './fixtures/markdown.ts';
import { taskSpec } from './fixtures/task-spec.ts';

const readme = readFileSync('README.md', 'utf8');

/** The rows of the first table under `heading` whose first column is called `head`. */
function rowsOf(heading: string, head: string): readonly (readonly string[])[] {
  const table = tablesUnder(readme, heading).find(each => each.head[0] === head);
  if (table === undefined) throw new Error(`README.md has no table under "${heading}" that begins with "${head}"`);
  return table.rows;
}

t.test('the table of job fields has each field of the schema with its default', async t => {
  const rows = new Map(
    rowsOf('The job file', 'field of `spec`').map(([field = '', cell = '']) => [unquoted(field), cell]),
  );
  const fields = [...fieldsOf(jobSpecSchema, '', new Set(rows.keys()))];
  t.same([...rows.keys()].sort(), fields.map(({ path }) => path).sort());
  for (const { path, fallback } of fields) {
    if (typeof fallback !== 'string' && typeof fallback !== 'number') continue;
    t.equal(unquoted(rows.get(path) ?? ''), String(fallback), `the default of ${path}`);
  }
});

t.test('the table of warnings is that of the program', async t => {
  const rows = rowsOf('Policies', 'code').map(([code = '', meaning = '']) => [unquoted(code), meaning]);
  t.same(Object.fromEntries(rows), warningCodes);
});

t.test('the table of exit codes is that of the program', async t => {
  const codes = rowsOf('Commands', 'exit code').map(([code]) => Number(code));
  t.same(codes, Object.values(exitCodes));
});

t.test('the table of error codes has each code with its status', async t => {
  const rows = rowsOf('The HTTP API', 'code').map(([code = '', status]) => [unquoted(code), Number(status)]);
  const known = Object.keys(errorCodes).filter((code): code is keyof typeof errorCodes => code in errorCodes);
  t.same(
    new Map(rows as [string, number][]),
    new Map(known.map(code => [code, answerOf(new MesoliteError(code, 'x')).status])),
  );
});

t.test('the table of commands has each command, and options are named as they are', async t => {
  const pages = await helpPages([]);
  const named = rowsOf('Commands', 'command').map(([cell = '']) => unquoted(cell).split(' ')[1]);
  t.same([...new Set(named)].sort(), commandsIn(pages[0] ?? '').sort());
  const ofOthers = new Set(['--check', '--purge']);
  for (const code of codeIn(readme)) {
    const [option = ''] = /^--[a-z-]+/.exec(code) ?? [];
    if (option === '' || ofOthers.has(option)) continue;
    t.ok(
      pages.some(page => page.includes(`${option} `)),
      `${option} is an option`,
    );
  }
});

t.test('the table of a task’s environment is what a task finds', async t => {
  const rows = rowsOf('In a task', 'variable').flatMap(([cell = '']) => codeIn(cell));
  const spec = taskSpec({
    env: {},
    ports: [{ name: 'http', protocol: 'http', number: 20_000 }],
    localPorts: [{ service: 'name', port: 1 }],
  });
  const here = { node: 'n', path: '/bin', outboundPort: 1, secretOf: () => 's', home: '/' };
  const found = Object.keys(environmentOf(spec, here)).map(name =>
    name.replace('PORT_HTTP', 'PORT_<NAME>').replace('UPSTREAM_NAME_', 'UPSTREAM_<NAME>_'),
  );
  t.same(rows.sort(), [...found, secretsVariable, identityVariable].sort());
});

t.test('limits are what the code has', async t => {
  const rows = rowsOf('Limits', 'what').map(([what = '', bound = '']) => ({ what, bound }));
  const mebi = (bytes: number) => `${bytes / 1024 ** 2} MiB`;
  const kibi = (bytes: number) => `${bytes / 1024} KiB`;
  const { sent, rate } = installApiBounds;
  const expected: readonly (readonly [string, string | number])[] = [
    ['file of `policy test`', mebi(maxCaseFileBytes)],
    ['file or standard input', mebi(maxYamlBytes)],
    ['documents in one `apply`', maxDocuments],
    ['body', `${mebi(apiBounds.bodyBytes)}, of an artifact ${mebi(artifactBounds.bytes)}`],
    ['artifacts of a task', artifactBounds.ofTask],
    [
      'artifacts being pushed',
      `${artifactStoreBounds.pushes}, ${artifactApiBounds.sent}; ${artifactApiBounds.idleMs / 1000} s`,
    ],
    [
      'an artifact: as it travels',
      `${mebi(artifactBounds.bytes)}, ${mebi(artifactBounds.unpackedBytes)}, ${artifactBounds.unpackedEntries}`,
    ],
    ['artifacts on a node', mebi(defaultArtifactBytes)],
    ['artifacts of the master', mebi(artifactStoreBounds.totalBytes)],
    ['connections, of one address', `${apiBounds.connections}, ${apiBounds.connectionsOfAddress}`],
    ['scripts and files for new nodes', `${sent.all}, ${sent.ofAddress}; ${rate.perSecond}, ${rate.burst}`],
    ['archives of Node', `${installerBounds.runtimes}, of ${mebi(installerBounds.runtimeBytes)}`],
    ['WebSockets of nodes', apiBounds.upgraded],
    ['one request', `${apiBounds.requestTimeoutMs / 1000} s`],
    ['frameworks; removed', `${mesosBounds.frameworks}; ${mesosBounds.removedFrameworks}`],
    ['credentials of frameworks', maxCredentials],
    ['body of a call', mebi(mesosBounds.callBytes)],
    ['calls of one framework', mesosBounds.waitingCalls],
    ['tasks of one framework', mesosBounds.liveTasks],
    ['tasks of one `RECONCILE`', mesosBounds.perCall],
    ['an offer without', `${mesosTimes.offerMs / 60_000} min, ${mesosTimes.contendedOfferMs / 1000} s`],
    ['`refuse_seconds`', `${mesosTimes.allocationMs / 1000} s to ${mesosTimes.maxRefuseMs / 86_400_000} days`],
    [
      'update that is not acknowledged',
      `said again after ${mesosTimes.updateRetryMs / 1000} s, doubled up to ${mesosTimes.maxUpdateRetryMs / 60_000} min`,
    ],
    ['subscribers of operators', mesosBounds.operatorStreams],
    ['what a subscriber', mebi(mesosBounds.streamBytes)],
    ['ended tasks that operators', mesosBounds.completedTasks],
    ['request for a certificate', `${requestBounds.maxBytes} bytes`],
    ['join strings', maxTokens],
    ['nodes that wait for an operator', `${joinQueueBounds.pending}, ${joinQueueBounds.pendingOfToken}`],
    ['nodes that join at once; of one address', `${defaultLimits.maxJoiners}; ${defaultLimits.joinsPerSource.burst}`],
    ['generations of the authority', maxGenerations],
    [
      'renewal of all nodes',
      `${1000 / renewalBounds.perNodeMs} nodes in a second, within ${renewalBounds.mostMs / 60_000} min`,
    ],
    ['topics that one client hears', defaultLimits.maxSubscriptions],
    ['events', `${eventBounds.keep}; ${eventBounds.differing}`],
    [
      'rollouts, steps of one, nodes named in a step',
      `${keepRollouts} remembered; ${rolloutBounds.steps}; ${rolloutBounds.namedNodes}`,
    ],
    ['step of a rollout', `${rolloutBounds.longestMs / 86_400_000}d watched`],
    ['wrong proofs', joinGuardBounds.wrongProofs],
    ['certificates for a node', perHour],
    ['revoked certificates', bookBounds.revoked],
    ['open connections', defaultLimits.maxConnections],
    [
      'new connections',
      `${defaultLimits.connectionsPerSource.perSecond} in a second, ${defaultLimits.connectionsPerSource.burst} at once`,
    ],
    ['messages of a node', `${defaultLimits.rates.node.messages.perSecond} in a second`],
    ['waiting for all clients', mebi(defaultLimits.maxTotalBufferedBytes)],
    ['TLS handshake', `${defaultLimits.handshakeTimeoutMs / 1000} s, ${defaultLimits.connectTimeoutMs / 1000} s`],
    ['packet before CONNECT', kibi(defaultLimits.maxConnectBytes)],
    ['message of a node', `${kibi(messageBounds.up.maxBytes)}, ${mebi(messageBounds.down.maxBytes)}`],
    ['waiting for one client', `${mebi(defaultLimits.maxBufferedBytes)}, or ${defaultLimits.drainTimeoutMs / 1000} s`],
    ['retained documents', `${defaultLimits.maxRetainedMessages}, ${mebi(defaultLimits.maxRetainedBytes)}`],
    ['ports for tasks', maxPorts],
    ['tasks', `${maxTasksPerNode} of ${kibi(slotBytes)}`],
    ['processes and threads of a task', defaultPids],
    ['statuses that wait', reportBounds.pending],
    [
      'what is kept of it',
      `${mebi(defaultLogRate.burstBytes)} at once, then ${kibi(defaultLogRate.bytesPerSecond)} a second`,
    ],
    ['access records that wait for the disk', auditBounds.waiting],
    ['audit on a node', `${defaultAuditSettings.diskBytes / 1024 / 1024} MiB`],
    ['audit of the master', `${defaultAuditKeeping.ms / 86_400_000} days, ${mebi(defaultAuditKeeping.bytes)}`],
    ['ended tasks whose output', `${retiredBounds.tasks}, ${mebi(retiredBounds.bytes)}`],
    ['head of a request', `${kibi(maxHeadBytes)}, ${maxHeaders} headers`],
    ['trailers', kibi(maxTrailerBytes)],
    ['series of counters', maxSeries],
    ['regular expression of a route', `${maxProgramSize} instructions`],
    ['frame of a connection between agents', kibi(maxFrameBytes)],
    ['answers on such a connection', kibi(maxBacklogBytes)],
    ['buckets of RateLimits', `${maxFixedBuckets} of tasks and callers, ${maxVaryingBuckets} of paths`],
    ['learned durations', maxEstimates],
  ];
  for (const [what, value] of expected) {
    const row = rows.find(each => each.what === what) ?? rows.find(each => each.what.startsWith(what));
    t.ok(row?.bound.startsWith(String(value)), `${what}: ${value}, README.md has ${row?.bound}`);
  }
});

t.test('links lead somewhere', async t => {
  const anchors = new Set(
    [...readme.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => `#${title.toLowerCase().replaceAll(' ', '-')}`),
  );
  for (const [, target = ''] of readme.matchAll(/\]\(([^)]+)\)/g)) {
    t.ok(target.startsWith('#') ? anchors.has(target) : existsSync(target), target);
  }
});

t.test('the quickstart prints what README.md shows of it', async t => {
  const source = readFileSync('scripts/quickstart/quickstart.ts', 'utf8');
  const said = [...source.matchAll(/'((?:[^'\\\n]|\\.)*)'|`((?:[^`\\]|\\.)*)`/g)].map(([, plain, template = '']) => {
    const pieces = plain === undefined ? template.split(/\$\{[^}]*\}/) : [plain];
    return new RegExp(
      `^${pieces.map(piece => piece.replace('\\n', '').replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`,
    );
  });
  const [shown] = fencesOf(readme).filter(fence => fence.marks.has('quickstart'));
  for (const line of (shown?.text ?? '').split('\n').filter(line => line !== '')) {
    const words = line.replace(/^ {2}✓ /, '');
    t.ok(
      said.some(each => each.source !== '^.*$' && each.test(words)),
      words,
    );
  }
});

interface JobField {
  readonly path: string;
  readonly fallback: unknown;
}

/** Each field of a valibot schema; `wholes` are objects that are taken as one. */
function* fieldsOf(schema: object, path: string, wholes: ReadonlySet<string>, fallback?: unknown): Generator<JobField> {
  if ('type' in schema && schema.type === 'never') return; // refused, with advice
  if ('wrapped' in schema && isObject(schema.wrapped)) {
    yield* fieldsOf(schema.wrapped, path, wholes, 'default' in schema ? schema.default : undefined);
  } else if ('entries' in schema && isObject(schema.entries) && !wholes.has(path)) {
    for (const [name, entry] of Object.entries(schema.entries)) {
      if (isObject(entry)) yield* fieldsOf(entry, path === '' ? name : `${path}.${name}`, wholes);
    }
  } else if ('item' in schema && isObject(schema.item) && 'entries' in schema.item) {
    yield* fieldsOf(schema.item, `${path}[]`, wholes);
  } else yield { path, fallback };
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function unquoted(cell: string): string {
  return cell.replaceAll('`', '');
}

/** The help of a command and of all below it. */
async function helpPages(command: readonly string[]): Promise<string[]> {
  const { out } = await run([...command, '--help']);
  const below = await Promise.all(commandsIn(out).map(name => helpPages([...command, name])));
  return [out, ...below.flat()];
}

function commandsIn(help: string): string[] {
  const [, list = ''] = help.split(/^Commands:$/m);
  return [...list.matchAll(/^ {2}([a-z]+)/gm)].map(([, name = '']) => name).filter(name => name !== 'help');
}

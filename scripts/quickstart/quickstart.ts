/**
 * Shows Mesolite on this machine: a master and two agents as processes of their own, a service and its caller in the mesh, a policy, a
 * batch. Every step is verified. `--check` ends after the last one; without it all stays up until Ctrl-C.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { JobView, NodeView, TaskDetail, TaskView } from '../../src/model/api.ts';
import { Fleet } from './fleet.ts';
import { eventually, patience } from './programs.ts';
import { readCalls } from './visitor-calls.ts';

const here = join(import.meta.dirname, '..', '..', '..', 'scripts', 'quickstart');
const maxAgentRssMb = 70;
/** The highest port in use is about 20,200. */
const maxPortOffset = 40_000;

const usage = `npm run quickstart -- [options]

  --port-offset N  adds N to every port, where others listen on some
  --data DIR       where it keeps everything (default: .mesolite/quickstart)
  --check          ends after the last step; without it all stays up until Ctrl-C`;

const { options, portOffset } = readOptions();
const fleet = new Fleet({ dataDir: resolve(options.data), portOffset });
const { mesolite } = fleet;

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        check: { type: 'boolean', default: false },
        'port-offset': { type: 'string', default: '0' },
        data: { type: 'string', default: join('.mesolite', 'quickstart') },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      say(usage);
      process.exit(0);
    }
    const portOffset = Number(values['port-offset']);
    if (Number.isInteger(portOffset) && portOffset >= 0 && portOffset <= maxPortOffset)
      return { options: values, portOffset };
    throw new Error(`--port-offset: expected a number from 0 to ${maxPortOffset}, got ${values['port-offset']}`);
  } catch (error) {
    process.stderr.write(`quickstart: ${error instanceof Error ? error.message : error}\n`);
    process.exit(2);
  }
}

function say(text = ''): void {
  process.stdout.write(`${text}\n`);
}

function verify(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
  say(`  ✓ ${what}`);
}

async function show(...args: string[]): Promise<void> {
  say(`\n$ mesolite ${args.join(' ')}`);
  say((await mesolite.text(...args)).trimEnd());
}

async function startFleet(): Promise<void> {
  say('1  A master and two agents, each a process of its own');
  await fleet.prepare();
  await fleet.startMaster();
  verify(true, `the master serves its API on https://127.0.0.1:${fleet.apiPort}`);
  await fleet.startAgents();
  const nodes = await fleet.readyNodes();
  verify(nodes.length === 2, 'both agents joined over MQTT with certificates of their own');
  for (const node of nodes) verify(describesItself(node), `${node.node} is a ${node.profile} with ${summary(node)}`);
  await show('get', 'nodes');
}

function describesItself({ total, usage, inventory }: NodeView): boolean {
  const { cpus = 0, mem = 0, disk = 0 } = total.scalars;
  const ports = total.ranges.ports ?? [];
  return cpus > 0 && mem > 0 && disk > 0 && ports.length > 0 && usage.memUsedMb > 0 && inventory.cpuCount > 0;
}

function summary({ total }: NodeView): string {
  const { cpus = 0, mem = 0 } = total.scalars;
  return `${cpus / 1000} cpus and ${Math.round(mem / 1000)} MB to give`;
}

/** The file with the visitor's calls. */
async function startMesh(): Promise<string> {
  say('\n2  A service of two instances and a visitor that calls it by name, over mutual TLS');
  await show('apply', '-f', join(here, 'hello.yaml'));
  const tasks = await eventually('the service and its visitor run', 30_000, async () => {
    const all = await mesolite.list<TaskView>('tasks', 'get', 'tasks');
    return all.length === 3 && all.every(task => task.state === 'TASK_RUNNING' && task.ready) ? all : undefined;
  });
  const hello = tasks.filter(task => task.job === 'hello');
  verify(new Set(hello.map(task => task.node)).size === 2, 'the two instances are on two nodes');
  const visitor = tasks.find(task => task.job === 'visitor');
  const calls = fleet.outputFile(visitor?.node ?? '', visitor?.id ?? '');
  const answers = await eventually('both instances answer', 30_000, () => {
    const answers = readCalls(calls, 0).filter(call => call.status === 200);
    const from = (node: string) => answers.some(call => call.text.includes(`hello from ${node}`));
    return from('node-a') && from('node-b') ? answers : undefined;
  });
  verify(answers.length > 0, 'calls go to both instances: proxy → mTLS → proxy → process');
  const log = await mesolite.text('logs', hello[0]?.id ?? '');
  const seen = /By=spiffe:[^;]*\/sa\/hello;Hash=[0-9a-f]{64};Subject="[^"]*";URI=spiffe:[^;\s]*\/sa\/visitor/;
  verify(seen.test(log), 'the service sees who called (x-forwarded-client-cert)');
  return calls;
}

async function enforcePolicy(calls: string): Promise<void> {
  say('\n3  An AuthorizationPolicy: pushed, enforced on the node, held without a master, taken back');
  const policy = join(here, 'deny-visitor.yaml');
  await push(policy, calls);
  await unpush(policy, calls);
  await push(policy, calls);
  await fleet.stopMaster();
  const unreachable = await mesolite.run('get', 'nodes');
  verify(unreachable.code === 3, 'the master is stopped, really');
  const stoppedAt = Date.now();
  const without = await eventually('calls without a master', 10_000, () => {
    const since = readCalls(calls, stoppedAt);
    return since.length >= 10 ? since : undefined;
  });
  const statuses = (path: string) => new Set(without.filter(call => call.path === path).map(call => call.status));
  verify(same(statuses('/public'), [200]), 'calls go on without it');
  verify(same(statuses('/'), [403]), 'and the policy still holds');
  await fleet.startMaster();
  await eventually('the nodes are back', 30_000, async () =>
    (await fleet.readyNodes()).length === 2 ? true : undefined,
  );
  verify(true, 'a new master over the same data has its nodes back');
  await unpush(policy, calls);
}

async function push(policy: string, calls: string): Promise<void> {
  await show('apply', '-f', policy);
  const pushedAt = Date.now();
  const denied = await statusOf(calls, pushedAt - 1_000, 403);
  verify(denied.text === 'RBAC: access denied', `the same call gets 403 "${denied.text}"`);
  verify(denied.at - pushedAt < 1_000 * patience, 'within a second of the push');
  const open = await statusOf(calls, denied.at, 200, '/public');
  verify(open.status === 200, 'what the policy does not name goes on');
}

async function unpush(policy: string, calls: string): Promise<void> {
  await show('delete', '-f', policy);
  const allowed = await statusOf(calls, Date.now(), 200);
  verify(allowed.status === 200, 'the policy is deleted: 200 again');
}

function statusOf(calls: string, since: number, status: number, path = '/') {
  return eventually(`a call of ${path} with status ${status}`, 10_000, () =>
    readCalls(calls, since).find(call => call.path === path && call.status === status),
  );
}

function same<T>(set: ReadonlySet<T>, wanted: readonly T[]): boolean {
  return set.size === wanted.length && wanted.every(each => set.has(each));
}

async function runBatch(): Promise<void> {
  say('\n4  A batch with priorities and needs, each task placed where it is expected to end first');
  await show('apply', '-f', join(here, 'batch.yaml'));
  const progress = makeProgressBar();
  const done = await eventually('the batch ends', 120_000, async () => {
    const jobs = await mesolite.list<JobView>('jobs', 'get', 'jobs');
    const batch = jobs.find(job => job.name === 'night-shift');
    if (batch === undefined) return undefined;
    progress(batch.finished + batch.failed, batch.wanted);
    return batch.finished + batch.failed === batch.wanted ? batch : undefined;
  });
  verify(done.failed === 0, `all ${done.wanted} tasks finished`);
  const tasks = (await mesolite.list<TaskView>('tasks', 'get', 'tasks')).filter(task => task.job === 'night-shift');
  verify(
    tasks.every(task => task.exitCode === 0),
    'with exit code 0',
  );
  verify(new Set(tasks.map(task => task.node)).size === 2, 'on both nodes');
  await verifyOneTask(tasks);
  await show('get', 'tasks');
}

async function verifyOneTask(tasks: readonly TaskView[]): Promise<void> {
  const urgent = tasks.find(task => task.label === 'alarm-report');
  const detail: TaskDetail = JSON.parse(await mesolite.text('get', 'tasks', urgent?.id ?? '', '-o', 'json'));
  const states = [...new Set(detail.history.map(status => status.state))];
  const expected = ['TASK_STAGING', 'TASK_STARTING', 'TASK_RUNNING', 'TASK_FINISHED'];
  verify(states.join() === expected.join(), `its states are there to see: ${states.join(' → ')}`);
  const output = await mesolite.text('logs', urgent?.id ?? '');
  verify(output.includes('hashed 100 MB'), `and its output: ${output.trim()}`);
  const last = tasks.find(task => task.label === 'compact');
  const lastDetail: TaskDetail = JSON.parse(await mesolite.text('get', 'tasks', last?.id ?? '', '-o', 'json'));
  const placedAt = (each: TaskDetail) => each.history[0]?.at ?? Number.NaN;
  verify(placedAt(detail) <= placedAt(lastDetail), 'no task of a lower priority was placed before that of the highest');
}

function makeProgressBar(): (done: number, total: number) => void {
  let last = -1;
  return (done, total) => {
    if (done === last) return;
    last = done;
    const width = 24;
    const filled = Math.round((width * done) / total);
    const bar = `  [${'█'.repeat(filled)}${'·'.repeat(width - filled)}] ${done}/${total}`;
    if (!process.stdout.isTTY) say(bar);
    else process.stdout.write(`\r${bar}${done === total ? '\n' : ''}`);
  };
}

async function showEverything(): Promise<void> {
  say('\n5  What there is to see');
  await show('get', 'nodes');
  await show('get', 'services');
  await show('audit', '--verdict', 'deny', '--limit', '3');
  await show('audit', '--limit', '5');
  const denied = await mesolite.list('entries', 'audit', '--verdict', 'deny');
  const allowed = await mesolite.list('entries', 'audit', '--verdict', 'allow');
  verify(denied.length > 0 && allowed.length > 0, 'the audit has what was allowed and what was denied');
  for (const { node, usage } of await fleet.readyNodes()) {
    const rss = Math.round(usage.agentRssMb * 10) / 10;
    const takes = `the agent of ${node}, its proxy in it, takes ${rss} MB of memory`;
    // who looks around on a busy machine shall not lose it all over a megabyte
    if (!options.check && rss >= maxAgentRssMb) say(`  ${takes} (meant to be less than ${maxAgentRssMb})`);
    else verify(rss < maxAgentRssMb, `${takes} (less than ${maxAgentRssMb})`);
  }
}

async function endJobs(): Promise<void> {
  for (const job of ['visitor', 'hello', 'night-shift']) await mesolite.run('delete', 'Job', job);
  await eventually('the tasks end', 20_000, async () => {
    const tasks = await mesolite.list<TaskView>('tasks', 'get', 'tasks');
    const live = tasks.filter(task => !['TASK_KILLED', 'TASK_FINISHED', 'TASK_FAILED'].includes(task.state));
    return live.length === 0 ? true : undefined;
  });
}

const interrupted = new Promise<void>(resolve => {
  process.once('SIGINT', resolve).once('SIGTERM', resolve);
});

async function demonstrate(): Promise<void> {
  await startFleet();
  const calls = await startMesh();
  await enforcePolicy(calls);
  await runBatch();
  await showEverything();
  if (options.check) return;
  const config = join(options.data, 'config.yaml');
  say('\nAll of it stays up until Ctrl-C. In another terminal:');
  say(`  MESOLITE_CONFIG=${config} npx mesolite get tasks`);
  say(`  MESOLITE_CONFIG=${config} npx mesolite audit --verdict deny`);
  await interrupted;
}

let failure: unknown;
try {
  await Promise.race([demonstrate(), interrupted]);
} catch (error) {
  failure = error;
}
say('\nStopping everything');
try {
  if (failure === undefined) await endJobs();
} catch (error) {
  failure = error;
}
await fleet.stop();
if (failure === undefined) {
  const left = fleet.killLeftovers();
  say(left === 0 ? '  ✓ nothing is left running' : `  ${left} task processes had to be killed`);
  if (options.check) say('\nquickstart: every step holds');
} else {
  say(`\nquickstart: ${failure instanceof Error ? failure.message : String(failure)}`);
  if (existsSync(join(fleet.dataDir, 'master.log'))) say(`the logs are in ${fleet.dataDir}`);
  process.exitCode = 1;
}
process.exit();

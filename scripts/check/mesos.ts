/**
 * A framework of Mesos' v1 HTTP API, written from its description alone and reading frames with the package `@dcos/recordio`, runs tasks on a
 * master and two agents that are processes of their own: their whole life, over a restart of the master and a failover of its own.
 * `--json` prints one object a row. The exit code is 1 when something does not hold.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { until } from '../../test/fixtures/fleet-until.ts';
import { type Json, MesosFramework, type MesosTarget, taskOn } from '../../test/fixtures/mesos-client.ts';
import { Fleet } from '../quickstart/fleet.ts';
import { FailedStep, makeStep } from './steps.ts';

const { values: options } = parseArgs({
  options: { json: { type: 'boolean', default: false }, 'port-offset': { type: 'string', default: '9000' } },
});
const home = mkdtempSync(join(tmpdir(), 'mesolite-mesos-'));
const fleet = new Fleet({ dataDir: home, portOffset: Number(options['port-offset']) });
const step = makeStep(options.json);

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

async function expectStates(framework: MesosFramework, task: string, states: readonly string[]): Promise<Json> {
  let status: Json;
  for (const state of states) {
    status = await framework.update(task);
    expect(status.state === state, `${task}: expected ${state}, got ${status.state} (${status.message})`);
  }
  return status;
}

function targetOf(): MesosTarget {
  const directory = join(home, 'master');
  const token = readFileSync(join(directory, 'operator.token'), 'utf8').trim();
  return {
    server: `https://127.0.0.1:${fleet.apiPort}`,
    ca: join(directory, 'ca.pem'),
    authorization: `Basic ${Buffer.from(`admin:${token}`).toString('base64')}`,
  };
}

const marks = (name: string) => join(home, name);
const linesIn = (name: string) => (existsSync(marks(name)) ? readFileSync(marks(name), 'utf8').trim().split('\n') : []);
const port = (offer: Json) => offer.resources.find(({ name }: Json) => name === 'ports').ranges.range[0].begin;

async function run(): Promise<void> {
  await fleet.prepare();
  await fleet.startMaster();
  await fleet.startAgents();
  const target = targetOf();
  let framework = await MesosFramework.subscribe(target, { name: 'check', failoverSeconds: 600 });

  await step('a task runs to its end, each of its states acknowledged before the next', async () => {
    const offer = await framework.offer();
    await framework.launch(offer, [taskOn(offer, 'greet', `echo "$GREETING" > ${marks('greet')}`)], 0);
    await expectStates(framework, 'greet', ['TASK_STARTING', 'TASK_RUNNING', 'TASK_FINISHED']);
    expect(linesIn('greet')[0] === 'hello', 'it had its environment');
  });
  await step('a task that fails says why', async () => {
    const offer = await framework.offer();
    await framework.launch(offer, [taskOn(offer, 'fail', 'exit 7')], 0);
    const status = await expectStates(framework, 'fail', ['TASK_STARTING', 'TASK_RUNNING', 'TASK_FAILED']);
    expect(status.reason === 'REASON_COMMAND_EXECUTOR_FAILED' && /code 7/.test(status.message), status.message);
  });
  await step('a container is refused with the reason', async () => {
    const offer = await framework.offer();
    await framework.launch(offer, [taskOn(offer, 'docker', 'x', { container: { type: 'DOCKER' } })], 0);
    const status = await framework.update('docker');
    expect(status.state === 'TASK_ERROR' && status.reason === 'REASON_TASK_INVALID', JSON.stringify(status));
  });
  await step('a group with a port and a health check is up and healthy, and KILL ends it', async () => {
    const offer = await framework.offer();
    const number = port(offer);
    const server = `exec ${process.execPath} -e 'require("http").createServer((q,r)=>r.end()).listen(${number},"127.0.0.1")'`;
    const tasks = [
      taskOn(offer, 'web', server, {
        resources: [
          { name: 'cpus', type: 'SCALAR', scalar: { value: 0.1 } },
          { name: 'ports', type: 'RANGES', ranges: { range: [{ begin: number, end: number }] } },
        ],
        // however long the program takes to be there on a machine with much else to do
        health_check: {
          type: 'HTTP',
          http: { port: number },
          delay_seconds: 0,
          interval_seconds: 1,
          grace_period_seconds: 600,
        },
      }),
      taskOn(offer, 'side', 'exec sleep 1000'),
    ];
    const operation = { type: 'LAUNCH_GROUP', launch_group: { executor: {}, task_group: { tasks } } };
    await framework.call('ACCEPT', {
      accept: { offer_ids: [offer.id], operations: [operation], filters: { refuse_seconds: 0 } },
    });
    for (;;) if ((await framework.update('web', 'TASK_RUNNING')).healthy === true) break;
    await framework.update('side', 'TASK_RUNNING');
    for (const task of ['web', 'side']) await framework.call('KILL', { kill: { task_id: { value: task } } });
    for (const task of ['web', 'side']) await framework.update(task, 'TASK_KILLED');
  });
  await step('a task is launched that lives on, and one that ends while no master is there', async () => {
    const offer = await framework.offer();
    const lives = `echo started >> ${marks('lives')}; exec sleep 1000`;
    const ends = `while [ ! -e ${marks('end')} ]; do sleep 0.1; done`;
    await framework.launch(offer, [taskOn(offer, 'lives', lives), taskOn(offer, 'ends', ends)], 0);
    for (const task of ['lives', 'ends']) await framework.update(task, 'TASK_RUNNING');
  });
  await step('the master is stopped and started: the framework comes back under its id', async () => {
    await fleet.stopMaster();
    await until('the stream is closed', () => framework.stream.isClosed);
    writeFileSync(marks('end'), '');
    await fleet.startMaster();
    framework = await MesosFramework.subscribe(target, { name: 'check', id: framework.id, failoverSeconds: 600 });
  });
  await step(
    'RECONCILE tells how its tasks stand; what ended meanwhile is told too, and nothing was started again',
    async () => {
      await framework.update('ends', 'TASK_FINISHED');
      const tasks = ['lives', 'ends', 'nothing'].map(id => ({ task_id: { value: id }, agent_id: null }));
      await framework.call('RECONCILE', { reconcile: { tasks } });
      for (const [task, state] of [
        ['lives', 'TASK_RUNNING'],
        ['ends', 'TASK_FINISHED'],
        ['nothing', 'TASK_LOST'],
      ] as const) {
        const isAnswer = ({ update: { status } }: Json) =>
          status.task_id.value === task && status.reason === 'REASON_RECONCILIATION';
        const { update } = await framework.stream.next('UPDATE', isAnswer);
        expect(update.status.state === state && !('uuid' in update.status), JSON.stringify(update.status));
      }
      await framework.call('RECONCILE', { reconcile: { tasks: [] } });
      const { update } = await framework.stream.next('UPDATE');
      expect(update.status.task_id.value === 'lives', 'without names it is about what lives');
      expect(linesIn('lives').length === 1, 'it was started once');
    },
  );
  await step(
    'another takes over by the id: the first is told, its offers are gone, and the tasks are the other’s',
    async () => {
      const { id } = framework;
      const old = framework;
      framework = await MesosFramework.subscribe(target, { name: 'check', id, failoverSeconds: 600 });
      const { error } = await old.stream.next('ERROR');
      expect(error.message === 'Framework failed over', error.message);
      await until('its stream is closed', () => old.stream.isClosed);
      await old.call('REVIVE', {}, 400);
      await framework.offer();
      await framework.call('KILL', { kill: { task_id: { value: 'lives' } } });
      await framework.update('lives', 'TASK_KILLED');
    },
  );
  await step('TEARDOWN ends the tasks with it', async () => {
    const offer = await framework.offer();
    await framework.launch(offer, [taskOn(offer, 'last', `echo $$ > ${marks('last')}; exec sleep 1000`)], 0);
    await framework.update('last', 'TASK_RUNNING');
    await framework.call('TEARDOWN');
    await until('the process is gone', () => !existsSync(`/proc/${linesIn('last')[0]}/cmdline`));
  });
  await step('each record came in a piece of its own, as older clients need it', async () => {
    expect(framework.stream.odd === 0, `${framework.stream.odd} pieces held none or several`);
  });
}

let failed = false;
try {
  await run();
} catch (error) {
  failed = true;
  if (!(error instanceof FailedStep)) process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
} finally {
  await fleet.stop();
  rmSync(home, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);

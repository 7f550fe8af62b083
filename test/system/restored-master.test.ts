/** A master is restored from yesterday's copy: what its nodes were given since goes on until an operator says otherwise. */
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { aheadSchema } from '../../src/model/ahead.ts';
import { isTerminal } from '../../src/model/task.ts';
import { joinAgent, lives, makeHome, masterConfig, runMaster, untilReady, untilTasks } from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const settings = await masterConfig(join(home, 'master'), ports);
let master = await runMaster(t, settings);
await joinAgent(t, master, { dataDir: join(home, 'node'), node: 'node', heartbeatMs: 1_000 }, ports);

const said = join(home, 'said');
const lines = () => (existsSync(said) ? readFileSync(said, 'utf8').trim().split('\n') : []);
const pidOf = (name: string) =>
  Number(
    lines()
      .findLast(line => line.startsWith(`${name} `))
      ?.split(' ')[1],
  );
const staying = (name: string) =>
  job(name, { command: ['/bin/sh', '-c', `echo "${name} $$" >>${said}; exec sleep 1000`] });
const ending = (name: string, go: string) => {
  const script = `echo "${name} $$" >>${said}; while [ ! -e ${go} ]; do sleep 0.05; done`;
  return job(name, { type: 'batch', command: ['/bin/sh', '-c', script] });
};
const begun = (name: string) => until(`${name} has begun`, () => pidOf(name) > 0);

const go = join(home, 'go');
await master.api.apply(staying('old'), staying('gone'), ending('batch', go));
for (const name of ['old', 'gone', 'batch']) {
  await untilTasks(master.api, name, 'TASK_RUNNING');
  await begun(name);
}
await master.stop();
const copy = join(home, 'copy');
cpSync(settings.dataDir, copy, { recursive: true });

// what came after the copy was made
master = await runMaster(t, settings);
await untilReady(master.api, 'node');
await master.api.apply(staying('new'));
await untilTasks(master.api, 'new', 'TASK_RUNNING');
await begun('new');
await master.api.remove('Job', 'gone');
await until('it has ended', () => !lives(pidOf('gone')));
process.kill(pidOf('batch'), 'SIGTERM');
await until('the batch has ended', async () => (await master.api.tasks('batch')).every(task => isTerminal(task.state)));
await until('the node knows', async () => (await master.api.nodes())[0]?.tasks === 2);
const begins = lines().length;
await master.stop();

// another day
rmSync(settings.dataDir, { recursive: true });
cpSync(copy, settings.dataDir, { recursive: true });
master = await runMaster(t, settings);

t.test('what is not in the copy goes on, and the operator is told what it is', async t => {
  const ahead = await until('the node is ahead', async () => (await master.api.nodes())[0]?.ahead);
  t.match(ahead, { unknown: { count: 1, some: [/^new\.default\./] }, missing: { count: 2 } });
  const [event] = await master.api.events('node-ahead');
  t.match(event, {
    node: 'node',
    severity: 'critical',
    message: /mesolite takeover node\. Not known here: 1 \(new\.default\./,
  });
});

t.test('nothing is placed there, ended there or begun there again', async t => {
  await master.api.apply(staying('later'));
  const [task] = await until('it waits', async () => {
    const tasks = await master.api.tasks('later');
    return tasks[0]?.waiting.length === 1 && tasks;
  });
  t.match(task?.waiting, [{ node: 'node', why: /taken over/ }]);
  await master.api.remove('Job', 'old');
  const beats = async () => (await master.api.nodes())[0]?.lastSeen ?? 0;
  for (let i = 0, before = await beats(); i < 3; i++, before = await beats())
    await until('it is heard again', async () => (await beats()) > before);
  t.ok(lives(pidOf('old')) && lives(pidOf('new')));
  t.equal(lines().length, begins);
});

t.test('once an operator says so the copy holds', async t => {
  await master.api.client.post('/v1/nodes/node/takeover', {}, aheadSchema);
  await until('what is not known has ended', () => !lives(pidOf('new')) && !lives(pidOf('old')));
  await untilTasks(master.api, 'later', 'TASK_RUNNING');
  await until('the service has another', async () =>
    (await master.api.tasks('gone')).some(task => task.state === 'TASK_RUNNING'),
  );
  t.match(await master.api.tasks('batch'), [{ state: 'TASK_LOST' }], 'a batch does not run again');
  t.equal(lines().filter(line => line.startsWith('batch ')).length, 1);
  t.equal((await master.api.nodes())[0]?.ahead, undefined);
  t.equal((await master.api.events('node-taken-over')).length, 1);
});

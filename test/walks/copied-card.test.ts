/** A card is copied, with two whole agents on it: both are put aside, the task runs on, and a new join brings the node back. */
import { cpSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { joinNode } from '../../src/agent/join.ts';
import { silentLog } from '../../src/base/log.ts';
import { systemClock } from '../../src/device/clock.ts';
import {
  agentConfig,
  joinAgent,
  lives,
  makeHome,
  masterConfig,
  runAgent,
  runMaster,
  untilReady,
  untilTasks,
} from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const master = await runMaster(t, await masterConfig(join(home, 'master'), ports));
const { api } = master;
const card = join(home, 'card');
const copy = join(home, 'copy');
const settings = { node: 'node', heartbeatMs: 1_000 };

let agent = await joinAgent(t, master, { ...settings, dataDir: card }, ports);
await agent.stop();
cpSync(card, copy, { recursive: true });
agent = await runAgent(t, agent.config);
await untilReady(api, 'node');

const pidFile = join(home, 'pid');
const command = ['/bin/sh', '-c', `echo $$ > ${pidFile}; exec sleep 1000`];
const service = { name: 'stays', port: 'http' };
await api.apply(job('stays', { command, ports: [{ name: 'http' }], service }));
const [task] = await untilTasks(api, 'stays', 'TASK_RUNNING');
await until('the service has an endpoint', async () => (await api.endpoints()).length === 1);
const pid = Number(
  await until('its process is known', () => existsSync(pidFile) && readFileSync(pidFile, 'utf8').trim()),
);

t.test('both boards are put aside, and their tasks are left alone', async t => {
  const other = await runAgent(t, { ...(await agentConfig(t, { ...settings, dataDir: copy, join: '' }, ports)) });
  const node = await until('the node is in quarantine', async () =>
    (await api.nodes()).find(each => each.state === 'quarantined'),
  );
  t.match(node.quarantine, /copied card/);
  t.equal((await api.told('node-quarantined')).length, 1);
  await until('its endpoint has gone', async () => (await api.endpoints()).length === 0);
  await other.stop();
  await api.apply(job('next', { type: 'batch', command: ['true'] }));
  const [next] = await until('there is no place', async () => {
    const tasks = await api.tasks('next');
    return (tasks[0]?.waiting.length ?? 0) > 0 && tasks;
  });
  t.match(next?.waiting, [{ node: 'node', why: /in quarantine/ }]);
  // the copy may have begun it, too, before it was seen that they are two
  t.match(await api.tasks('stays'), [{ id: task?.id, node: 'node', restarts: 0 }]);
  t.ok(lives(pid));
});

t.test('a join with a new key brings the node back, and its task was not touched', async t => {
  await agent.stop();
  const config = { ...agent.config, join: await api.joinString({ node: 'node' }) };
  // a profile that only the fleet has is heard of after the join
  const told = {
    ...config,
    join: await api.joinString({ node: 'node', profile: 'of-the-fleet' }),
    profile: 'of-the-fleet',
  };
  const { signal } = new AbortController();
  const parts = { clock: systemClock, log: silentLog, version: '1.0.0' };
  await t.rejects(joinNode(parts, config, { replace: false }, signal), { code: 'CONFLICT', message: /--replace/ });
  await joinNode(parts, { ...told, node: 'name-of-the-host' }, { replace: true, keepName: true }, signal);
  await runAgent(t, agent.config);
  await untilReady(api, 'node');
  await until('its endpoint is back', async () => (await api.endpoints()).length === 1);
  t.match(await api.tasks('stays'), [{ id: task?.id, state: 'TASK_RUNNING', restarts: 0 }]);
  t.ok(lives(pid));
  await untilTasks(api, 'next', 'TASK_FINISHED');
});

t.test('a node that is deleted is of the fleet no more, and its name is free for another key', async t => {
  const births = () => master.log.all('a node introduced itself').length;
  const before = births();
  agent = await runAgent(t, agent.config);
  await until('it is up again', () => births() > before);
  await t.rejects(api.client.remove('/v1/nodes/node'), { code: 'CONFLICT', message: /node node is up/ });
  await api.client.remove('/v1/nodes/node?force=true');
  t.same(await api.nodes(), []);
  await t.rejects(api.client.remove('/v1/nodes/node?force=true'), { code: 'NOT_FOUND' });
  t.match(await api.events('node-deleted'), [{ node: 'node', message: /admin deleted it/ }]);
  await until('its task waits for another node', async () => {
    const tasks = await api.tasks('stays');
    return (
      tasks.some(each => each.id === task?.id && each.state === 'TASK_GONE_BY_OPERATOR') &&
      tasks.some(each => each.node === null)
    );
  });
  await until('it is cut off', () => agent.log.all('the link is down').length > 0);
  await agent.stop();
  const config = { ...agent.config, join: await api.joinString() };
  const parts = { clock: systemClock, log: silentLog, version: '1.0.0' };
  await joinNode(parts, config, { replace: true, keepName: true }, new AbortController().signal);
  agent = await runAgent(t, agent.config);
  await until('another task runs in its place', async () =>
    (await api.tasks('stays')).some(each => each.id !== task?.id && each.state === 'TASK_RUNNING'),
  );
  await until('the task that it had has ended', () => !lives(pid));
});

/** A framework of Mesos' HTTP API runs tasks on a real node: offers go out, launches come in, and what becomes of them is told until it is acknowledged. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createCredentialResultSchema, frameworkListSchema } from '../../src/model/api.ts';
import { joinAgent, makeHome, masterConfig, runMaster } from '../fixtures/fleet.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';
import { ask, type Json, MesosFramework, taskOn } from '../fixtures/mesos-client.ts';

const home = makeHome(t);
const ports = new FreePorts();
const plainPort = await ports.take();
const mesosHttp = { port: plainPort, isOpen: false };
const settings = { ...(await masterConfig(join(home, 'master'), ports)), mesosHttp };
const master = await runMaster(t, settings);
await joinAgent(t, master, { dataDir: join(home, 'node'), node: 'node' }, ports);
const token = readFileSync(join(settings.dataDir, 'operator.token'), 'utf8').trim();
const target = {
  server: `https://127.0.0.1:${settings.apiPort}`,
  ca: join(settings.dataDir, 'ca.pem'),
  authorization: `Basic ${Buffer.from(`admin:${token}`).toString('base64')}`,
};

t.test('a task runs to its end: each state is told, and the next one when it is acknowledged', async t => {
  const framework = await MesosFramework.subscribe(target);
  const offer = await framework.offer();
  t.equal(offer.agent_id.value, 'node');
  t.match(offer, { hostname: 'node', url: { address: { ip: '127.0.0.1' } }, allocation_info: { role: '*' } });
  t.ok(offer.resources.some((each: Json) => each.name === 'ports' && each.ranges.range[0].begin > 0));
  await framework.launch(offer, [taskOn(offer, 't.greet', 'echo "$GREETING from $MESOLITE_NODE"')]);
  for (const state of ['TASK_STARTING', 'TASK_RUNNING', 'TASK_FINISHED']) {
    const status = await framework.update('t.greet');
    t.match(status, {
      state,
      source: 'SOURCE_EXECUTOR',
      agent_id: { value: 'node' },
      executor_id: { value: 't.greet' },
    });
    t.equal(Buffer.from(status.uuid, 'base64').length, 16);
  }
  const [task] = await until('it is listed', async () => {
    const tasks = (await master.api.tasks()).filter(each => each.id.startsWith('t.greet.'));
    return tasks.length > 0 && tasks;
  });
  t.equal(await master.api.output(task?.id ?? ''), 'hello from node\n');
  t.equal(framework.stream.odd, 0, 'each record is a piece of its own');
  await framework.call('TEARDOWN');
  await until('the stream is closed', () => framework.stream.isClosed);
});

t.test('over plain HTTP, with a credential of its own that is bound to a role', async t => {
  const { client } = master.api;
  const request = { name: 'ci', roles: ['eng/ci'] };
  const { secret } = await client.post('/v1/framework-credentials', request, createCredentialResultSchema);
  await t.rejects(client.post('/v1/framework-credentials', request, createCredentialResultSchema), {
    code: 'CONFLICT',
  });
  const plain = { server: `http://127.0.0.1:${plainPort}`, authorization: `Bearer ${secret}` };
  const framework = await MesosFramework.subscribe(plain, { name: 'builds', roles: ['eng/ci'] });
  const offer = await framework.offer();
  t.same(offer.allocation_info, { role: 'eng/ci' });
  await framework.launch(offer, [taskOn(offer, 'build', 'exit 0')]);
  await framework.update('build', 'TASK_FINISHED');
  const { frameworks } = await client.get('/v1/frameworks', frameworkListSchema);
  t.match(frameworks.at(-1), { name: 'builds', principal: 'ci', state: 'connected', roles: ['eng/ci'], tasks: 0 });
  t.equal((await ask(plain, 'GET', '/master/state')).status, 403, 'what others have is not its business');
  t.equal((await ask({ ...plain, authorization: undefined }, 'GET', '/master/state')).status, 401);
  t.equal((await ask({ ...plain, authorization: undefined }, 'GET', '/health')).status, 200);
  await client.remove('/v1/framework-credentials/ci');
  t.equal((await ask(plain, 'POST', '/api/v1/scheduler')).status, 401, 'a credential that is revoked is worth nothing');
  await t.rejects(client.remove('/v1/framework-credentials/ci'), { code: 'NOT_FOUND' });
});

/** Versions of a service take each other's place with real tasks, and whoever calls it through the mesh notices nothing. */
import { join } from 'node:path';
import t from 'tap';
import { jobListSchema } from '../../src/model/api.ts';
import { jobUpdateViewSchema } from '../../src/model/job-update.ts';
import { joinAgent, makeHome, masterConfig, proxyOf, runMaster, untilTasks } from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { callerProgram, callThrough } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const config = await masterConfig(join(home, 'master'), ports);
// it lives on from one test to the next
const startMaster = () => runMaster(t, config);
const master = await startMaster();
await joinAgent(t, master, { dataDir: join(home, 'node'), node: 'node' }, ports);
const { api } = master;

const program = `require('node:http').createServer(({ url }, response) =>
  response.writeHead(url === '/health' && process.env.VERSION === 'bad' ? 500 : 200).end(process.env.VERSION)
).listen(process.env.PORT, '127.0.0.1')`;
const web = (version: string, update: object = {}) =>
  job('web', {
    instances: 2,
    command: [process.execPath, '-e', program],
    env: { VERSION: version },
    ports: [{ name: 'http' }],
    service: { port: 'http' },
    health: { type: 'http', port: 'http', path: '/health', interval: '200ms' },
    update: { minHealthyTime: '500ms', ...update },
  });
const update = async () =>
  (await api.client.get('/v1/jobs', jobListSchema)).jobs.find(each => each.name === 'web')?.update;
const untilUpdate = (phase: string) => until(`the update is ${phase}`, async () => (await update())?.phase === phase);

await api.apply(web('v1'), job('caller', { serviceAccount: 'caller', upstreams: ['web'], command: callerProgram }));
await untilTasks(api, 'web', 'TASK_RUNNING');
const proxy = await proxyOf(api, 'caller');
const call = async () => {
  const { status, text } = await callThrough(proxy, 'http://web.default.mesh/');
  return status === 200 ? text : `${status} ${text}`;
};
await until('a call comes to the service', async () => (await call()) === 'v1');

/** Calls without a pause while `work` goes on; all the answers that came. */
async function answersDuring(work: () => Promise<unknown>): Promise<string[]> {
  const seen = new Set<string>();
  let isOver = false;
  const calling = (async () => {
    while (!isOver) seen.add(await call());
  })();
  await work();
  isOver = true;
  await calling;
  return [...seen].sort();
}

t.test(
  'a good version takes the place of the one before, though the master ends meanwhile, and no call fails',
  async t => {
    const answers = await answersDuring(async () => {
      await api.apply(web('v2'));
      await until('the first task is replaced', async () => (await update())?.healthy === 1);
      await master.stop();
      await startMaster();
      await untilUpdate('succeeded');
    });
    t.same(answers, ['v1', 'v2']);
    t.same(await answersDuring(call), ['v2']);
  },
);

t.test('a bad version goes by itself, with its reason, and no call comes to it', async t => {
  const answers = await answersDuring(async () => {
    await api.apply(web('bad', { healthyDeadline: '4s' }));
    await untilUpdate('reverted');
  });
  t.same(answers, ['v2']);
  t.match(await update(), { reason: /^task web\.default\..* was not ready within 4 s/ });
  t.match(await api.told('job-reverted'), [{ severity: 'critical', message: /job default\/web: task / }]);
  await until('two tasks of the version before are left', async () => {
    const live = (await api.tasks('web')).filter(task => task.state === 'TASK_RUNNING');
    return live.length === 2 && live.every(task => task.ready);
  });
  const again = api.client.post('/v1/jobs/default/web/revert', {}, jobUpdateViewSchema);
  await t.rejects(again, { code: 'NOT_FOUND', message: /no update of job default\/web is under way/ });
});

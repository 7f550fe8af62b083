/** A task that dies between two calls, on another node than who calls. */
import { join } from 'node:path';
import t from 'tap';
import { joinAgent, lives, makeHome, masterConfig, proxyOf, runMaster, untilTasks } from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { callerProgram, callThrough } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const master = await runMaster(t, await masterConfig(join(home, 'master'), ports));
for (const node of ['left', 'right', 'near']) await joinAgent(t, master, { dataDir: join(home, node), node }, ports);
const { api } = master;

const on = (...values: string[]) => ({ constraints: [{ attribute: 'node', operator: 'in', values }] });
const program = `require('node:http').createServer(({ url }, response) => {
  response.end(process.env.MESOLITE_NODE + ' ' + process.pid);
  if (url === '/die') setImmediate(() => process.exit(1));
}).listen(process.env.PORT, '127.0.0.1')`;
const service = {
  command: [process.execPath, '-e', program],
  ports: [{ name: 'http' }],
  instances: 2,
  service: { name: 'web', port: 'http' },
  // long enough for what is looked at
  restart: { backoff: '1h', maxBackoff: '1h' },
};

await api.apply(
  job('web', { ...service, ...on('left', 'right') }),
  job('caller', { serviceAccount: 'caller', upstreams: ['web'], command: callerProgram, ...on('near') }),
);
await untilTasks(api, 'web', 'TASK_RUNNING');
const proxy = await proxyOf(api, 'caller');
const call = (path = '/') => callThrough(proxy, `http://web.default.mesh${path}`);

t.test('none of the calls is lost that come when a task has died', async t => {
  const asked = async (times: number) => {
    const all = [];
    for (let i = 0; i < times; i++) all.push(await call());
    return all;
  };
  const nodes = async () => new Set((await asked(20)).map(({ text }) => text.split(' ')[0]));
  await until('both answer', async () => [...(await nodes())].sort().join() === 'left,right');
  const [died, pid] = (await call('/die')).text.split(' ');
  // what it is asked while it dies it may have seen
  await until('it has died', () => !lives(Number(pid)));
  const hasLeft = async () => (await api.endpoints()).length === 1;
  await until('the callers have heard of it', async () => {
    t.match(await asked(20), Array(20).fill({ status: 200 }));
    return hasLeft();
  });
  t.same([...(await nodes())], [died === 'left' ? 'right' : 'left']);
});

/** The master brings an agent to another version while its tasks are called: nobody notices, and a bad version goes by itself. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { applyResultSchema } from '../../src/model/api.ts';
import { agentVersion, pushBundle, writeBundle } from '../fixtures/agent-bundle.ts';
import { startEchoAndCaller, waitingEcho } from '../fixtures/echo-and-caller.ts';
import { agentConfig, lives, makeHome, masterConfig, runMaster, untilReady } from '../fixtures/fleet.ts';
import { callThrough } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { startAgentProcess } from '../fixtures/fleet-process.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const master = await masterConfig(join(home, 'master'), ports);
const { api } = await runMaster(t, master);
const config = await agentConfig(t, { dataDir: join(home, 'node'), node: 'node', join: await api.joinString() }, ports);
/** The processes that are the agent of this test. */
function agents(): number[] {
  return readdirSync('/proc').filter(isAgent).map(Number);
}

function isAgent(pid: string): boolean {
  try {
    const isOurs = readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(`--data\0${config.dataDir}\0`);
    return isOurs && lives(Number(pid));
  } catch {
    return false;
  }
}

function endAgents(): void {
  for (const pid of agents()) process.kill(pid, 'SIGKILL');
}

/** It lives on from one test to the next; those that have followed it end before its output is waited for. */
function startAgent() {
  const started = startAgentProcess(t, config);
  t.teardown(endAgents);
  return started;
}
const agent = startAgent();
await untilReady(api, 'node');

const published = await ports.take();
const go = join(home, 'go');
const { echo, proxy, first } = await startEchoAndCaller(api, waitingEcho(go, published));
const url = 'http://echo.default.mesh/';

const node = async () => (await api.nodes())[0];
/** Applies a version by a rollout whose first step is the one node; how that ends. */
async function rollOut(source: string, reportWithin: string): Promise<{ phase: string; reason: string | null }> {
  const documents = [agentVersion(source, { reportWithin })];
  const rollout = { steps: [{ nodes: ['node'], for: '1s' }] };
  await api.client.post('/v1/documents', { documents, rollout }, applyResultSchema);
  return until('the rollout is over', async () => {
    const [newest] = await api.rollouts();
    return newest?.endedAt === null ? undefined : newest;
  });
}

/** Calls the task from outside and through the mesh, each on a connection of its own, while `work` goes on; what failed, of how many. */
async function underLoad(work: () => Promise<unknown>): Promise<{ failures: string[]; calls: number }> {
  const failures: string[] = [];
  let calls = 0;
  let isOver = false;
  const call = async (ask: () => Promise<string>) => {
    while (!isOver) {
      calls++;
      const text = await ask().catch((error: Error) => `${error.message} ${String(error.cause ?? '')}`);
      if (text !== first) failures.push(text);
    }
  };
  const outside = async () =>
    (await fetch(`http://127.0.0.1:${published}/`, { headers: { connection: 'close' } })).text();
  const inside = async () => (await callThrough(proxy, url)).text;
  const calling = [outside, inside].map(call);
  await work().finally(() => {
    isOver = true;
  });
  await Promise.all(calling);
  return { failures, calls };
}

const bundle = await pushBundle(api, writeBundle(join(home, 'good'), '9.9.9'));

t.test(
  'another version takes over under calls: none is refused or fails, and what is under way is finished',
  async t => {
    const slow = callThrough(proxy, `${url}slow`);
    await until('it has arrived', async () => (await api.output(echo)).includes('slow'));
    const { failures, calls } = await underLoad(async () => {
      t.match(await rollOut(bundle.address, '1m'), { phase: 'succeeded' });
    });
    t.same(failures, []);
    t.ok(calls > 20, `${calls} calls`);
    t.match(await node(), { version: '9.9.9', bundle: bundle.sha256 });
    t.ok(lives(agent.pid), 'the old process waits for the request that it took');
    writeFileSync(go, '');
    t.match(await slow, { status: 200, text: first });
    await until('the old one has ended', () => !lives(agent.pid));
    t.equal((await api.tasks('echo'))[0]?.restarts, 0);
  },
);

t.test('what reported in once is what a start runs, and the bundle is kept while it is named', async t => {
  endAgents();
  const before = (await node())?.boot ?? 0;
  startAgent();
  await until('the node is back', async () => ((await node())?.boot ?? 0) > before);
  t.match(await node(), { version: '9.9.9', bundle: bundle.sha256 });
  await t.rejects(api.client.remove(`/v1/artifacts/${bundle.sha256}`), { code: 'CONFLICT', message: /AgentVersion/ });
});

t.test('a version that does not reach the master gives way by itself, and the fleet keeps what it had', async t => {
  const blind = `
    import net from 'node:net';
    const connect = net.Socket.prototype.connect;
    net.Socket.prototype.connect = function (...args) {
      const options = Array.isArray(args[0]) ? args[0][0] : args[0];
      if ([${master.mqttPort}, ${master.apiPort}].includes(Number(options?.port))) options.port = 1;
      return connect.apply(this, args);
    };\n`;
  const bad = await pushBundle(api, writeBundle(join(home, 'bad'), '9.9.10', blind));
  const { failures } = await underLoad(async () => {
    t.match(await rollOut(bad.address, '3s'), {
      phase: 'rolled-back',
      reason: /node refused it: it did not report in within 3 s/,
    });
  });
  t.same(failures, []);
  t.match(await node(), { version: '9.9.9', bundle: bundle.sha256 });
  t.equal((await api.tasks('echo'))[0]?.restarts, 0);
});

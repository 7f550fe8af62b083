import { join } from 'node:path';
import t from 'tap';
import { serveAgent } from '../../src/agent/serve.ts';
import { MesoliteError } from '../../src/base/errors.ts';
import { systemClock } from '../../src/device/clock.ts';
import type { Successor } from '../../src/device/handover.ts';
import { agentConfig, makeHome, masterConfig, runMaster, untilReady } from '../fixtures/fleet.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const { api } = await runMaster(t, await masterConfig(join(home, 'master'), ports));
const settings = { dataDir: join(home, 'node'), node: 'node', join: await api.joinString() };
const config = await agentConfig(t, settings, ports);
const boot = async () => (await api.nodes())[0]?.boot ?? 0;

const log = new CapturedLog();
const stop = new AbortController();
const listeners = new Set<() => void>();
const gone = () => Promise.reject(new MesoliteError('START_FAILED', 'it has gone'));
const leaves = { record: () => {}, leave: async () => {} };
let successor: Successor = { ready: gone, begin: gone, ...leaves };
const served = serveAgent(
  {
    clock: systemClock,
    log,
    version: '1.0.0',
    sockets: undefined,
    onUp: () => {},
    onHandover: listener => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    startSuccessor: () => successor,
  },
  config,
  stop.signal,
);
t.teardown(async () => {
  stop.abort();
  await served;
});
await untilReady(api, 'node');
/** What the signal does, as soon as somebody listens. */
const askForHandover = async () => {
  await until('it can be asked', () => listeners.size > 0);
  for (const listener of [...listeners]) listener();
};

t.test('a successor that does not load changes nothing', async t => {
  const before = await boot();
  await askForHandover();
  await until('it is said', () => log.all('nobody took over; this agent goes on').length > 0);
  t.equal(await boot(), before);
});

t.test('for one that fails after it was let in, the agent starts again in its own process', async t => {
  const before = await boot();
  successor = { ready: async () => {}, begin: gone, ...leaves };
  await askForHandover();
  await until('the node is back', async () => (await boot()) > before);
  await untilReady(api, 'node');
  t.equal(log.all('nobody took over; this agent starts again').length, 1);
});

t.test('when another has taken over, this one ends', async t => {
  successor = { ready: async () => {}, begin: async () => {}, ...leaves };
  await askForHandover();
  await served;
  t.equal(log.all('the agent has stopped; its tasks go on').length, 2);
});

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openVersions } from '../../src/agent/agent-versions.ts';
import { serveAgent } from '../../src/agent/serve.ts';
import { MesoliteError } from '../../src/base/errors.ts';
import { systemClock } from '../../src/device/clock.ts';
import type { Successor } from '../../src/device/handover.ts';
import { installedVersion } from '../../src/lifecycle/agent-version.ts';
import { agentVersion, pushBundle } from '../fixtures/agent-bundle.ts';
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
const settled = async () => {};
const leaves = { settled, record: () => {}, leave: async () => {} };
const versions = await openVersions(config.dataDir);
let said = 0;
/** What the service manager is told. */
const told: string[] = [];
const works: AbortSignal[] = [];
/** The versions that successors were started as. */
const asked: string[] = [];
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
    running: installedVersion,
    versions,
    startSuccessor: version => {
      asked.push(version);
      return successor;
    },
    onMain: async () => void told.push('up'),
    onReload: async () => void told.push('reloading'),
    onWorking: signal => void works.push(signal),
    onSettled: () => void said++,
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
  await until('it is up', () => told.length === 3);
  t.same(told, ['up', 'reloading', 'up']);
  t.equal(works.at(-1)?.aborted, false);
});

t.test('for one that fails after it was let in, the agent starts again in its own process', async t => {
  const before = await boot();
  successor = { ready: async () => {}, begin: gone, ...leaves };
  await askForHandover();
  await until('the node is back', async () => (await boot()) > before);
  await untilReady(api, 'node');
  t.equal(log.all('nobody took over; this agent starts again').length, 1);
});

t.test('another version that ends before it has reported in is refused, and the one before runs again', async t => {
  const before = await boot();
  const program = join(home, 'bundle/build/dist');
  mkdirSync(program, { recursive: true });
  writeFileSync(join(program, 'main.js'), 'process.exit(1)');
  const { address, sha256 } = await pushBundle(api, join(home, 'bundle'));
  successor = { ready: async () => {}, begin: async () => {}, ...leaves, settled: gone };
  await api.apply(agentVersion(address));
  await until('the node is back', async () => (await boot()) > before);
  const node = await until('it says why', async () => {
    const [seen] = await api.nodes();
    return seen?.warnings?.some(each => /^the agent does not run [0-9a-f]{12}…: it has gone$/.test(each)) && seen;
  });
  t.equal(node.bundle, undefined);
  t.equal(asked.at(-1), sha256);
  t.match(versions.state.value, { current: installedVersion, tried: null, refused: { id: sha256 } });
  t.ok((await openVersions(config.dataDir)).programOf(sha256)?.endsWith('build/dist/main.js'));
});

t.test('when another has taken over, this one ends', async t => {
  successor = { ready: async () => {}, begin: async () => {}, ...leaves };
  await askForHandover();
  await served;
  t.equal(log.all('the agent has stopped; its tasks go on').length, 3);
  t.equal(told.at(-1), 'reloading', 'that it is up is for the other one to say');
  t.ok(works.every(({ aborted }) => aborted));
  t.ok(said > 0, 'who watched this one hears of it');
});

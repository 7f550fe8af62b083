import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openBoardFacts } from '../../src/agent/board-facts.ts';
import { type AgentConfig, checkAgentConfig, defaultAgentConfig, defaultNodeId } from '../../src/agent/config.ts';
import { openNodeFacts } from '../../src/agent/node-facts.ts';
import { type Log, silentLog } from '../../src/base/log.ts';
import { openFiles } from '../../src/device/files.ts';
import type { CheckedInventory } from '../../src/device/inventory.ts';
import { unknownBoard } from '../../src/device/profiles.ts';
import { countInRanges, isInRanges } from '../../src/model/resources.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';

const profilesDir = join(import.meta.dirname, '..', '..', '..', 'firmware-profiles');

const configOf = (t: Test, more: Partial<AgentConfig> = {}): AgentConfig => ({
  ...defaultAgentConfig,
  dataDir: t.testdir(),
  node: 'pi-1',
  profilesDir,
  ...more,
});

/** Of a data directory of its own. */
const partsOf = async (config: AgentConfig, log: Log = silentLog) => {
  const files = await openFiles(config.dataDir);
  const readBoard = () => openBoardFacts({ files, log, version: '1.0.0' });
  return { clock: new FakeClock(), log, files, readBoard };
};

async function open(t: Test, more: Partial<AgentConfig> = {}) {
  const config = configOf(t, more);
  const facts = await openNodeFacts(await partsOf(config), config);
  t.teardown(() => facts.close());
  return facts;
}

/** A port that is listened to until the test ends. */
async function takenPort(t: Test): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

t.test('this board is described by what is read from it, less what its profile keeps', async t => {
  const facts = await open(t);
  const { profile, inventory, total, attributes } = await facts.describe([]);
  t.equal(profile, facts.profile.name);
  t.match(attributes, { arch: inventory.arch, profile, os: inventory.os });
  const { cpus = 0, mem = 0, disk = 0 } = total.scalars;
  t.equal(cpus, Math.max(0, Math.round((inventory.cpuCount - facts.profile.reserve.cpus) * 1_000)));
  t.equal(mem, Math.max(0, (inventory.memoryMb - facts.profile.reserve.memMb) * 1_000));
  t.ok(disk >= 0 && Number.isSafeInteger(disk));
  const usage = await facts.readUsage();
  t.ok(usage.agentRssMb > 10 && usage.memUsedMb > 0 && usage.cpu >= 0 && usage.cpu <= 1);
});

t.test('an operator knows better what a board has', async t => {
  const facts = await open(t, { cpuCount: 3, memoryMb: 2_000, profile: 'generic-x86-64' });
  const { total, inventory } = await facts.describe([]);
  t.match(inventory, { cpuCount: 3, memoryMb: 2_000 });
  t.match(total.scalars, { cpus: 2_800, mem: 1_744_000 });
});

t.test('what is applied is chosen from at once, behind what is in a folder of the node', async t => {
  const mine = { ...unknownBoard, name: 'mine', precedence: 1_000, match: [{}] };
  const facts = await open(t);
  const before = facts.profile;
  t.equal(await facts.rematch([mine]), true);
  t.equal((await facts.describe([])).profile, 'mine');
  t.equal(await facts.rematch([mine]), false, 'it is the same');
  t.equal(await facts.rematch([]), true);
  t.same(facts.profile, before);
  const profiles = t.testdir({ 'mine.json': JSON.stringify({ ...mine, title: 'of the node' }) });
  const config = { ...defaultAgentConfig, dataDir: profiles, node: 'pi-1', profilesDir, profiles };
  const own = await openNodeFacts(await partsOf(config), config, [mine]);
  t.teardown(() => own.close());
  t.equal(own.profile.title, 'of the node');
});

t.test('a port that somebody listens to is not given to tasks, unless it is a task of ours that does', async t => {
  const port = await takenPort(t);
  const facts = await open(t, { taskPorts: [{ begin: port, end: port }] });
  t.equal(countInRanges((await facts.describe([])).total.ranges.ports ?? []), 0);
  t.same((await facts.describe([port])).total.ranges.ports, [{ begin: port, end: port }]);
});

t.test('ports that a task may ask for by number are all others that nobody listens to', async t => {
  const port = await takenPort(t);
  const facts = await open(t, { taskPorts: [{ begin: 20_000, end: 20_009 }] });
  const offered = async (own: number[]) => (await facts.describe(own)).total.ranges['node-ports'] ?? [];
  t.notOk(isInRanges(20_005, await offered([])), 'that is for the node to hand out');
  t.notOk(isInRanges(port, await offered([])));
  t.ok(isInRanges(port, await offered([port])), 'a task of ours has it');
});

t.test('a profile may be named, and labels say what the board cannot', async t => {
  const facts = await open(t, { profile: 'raspberry-pi-4', labels: { zone: 'roof' } });
  const { profile, attributes } = await facts.describe([]);
  t.equal(profile, 'raspberry-pi-4');
  t.match(attributes, { profile: 'raspberry-pi-4', zone: 'roof' });
});

t.test('a node goes on without the profile that it was told to take, and takes it when it is there', async t => {
  const log = new CapturedLog();
  const toaster = { ...unknownBoard, name: 'toaster' };
  const config = configOf(t, { profile: 'toaster' });
  const facts = await openNodeFacts(await partsOf(config, log), config);
  t.teardown(() => facts.close());
  const ofBoard = (await open(t)).profile.name;
  t.equal(facts.profile.name, ofBoard);
  t.match(log.all('there is no firmware profile of the name that was asked for'), [
    { fields: { asked: 'toaster', profile: ofBoard } },
  ]);
  t.equal(await facts.rematch([toaster]), true);
  t.equal(facts.profile.name, 'toaster');
  t.equal(await facts.rematch([]), true);
  t.equal(facts.profile.name, ofBoard);
});

t.test('a board is read once after a start of the machine, and again where that is not known in full', async t => {
  const dataDir = t.testdir();
  let reads = 0;
  const words = { deviceTreeModel: '', dmiProduct: '', virtual: true, os: 'Debian GNU/Linux 13', kernel: '6.12.0' };
  const inventory = { arch: 'arm64', cpuModel: 'Cortex-A72', cpuCount: 4, memoryMb: 4096, ...words };
  const read = async (): Promise<CheckedInventory> => ({ inventory, warnings: [`read ${++reads}`] });
  const facts = async (version = '1.0.0', reader = read) => {
    const log = new CapturedLog();
    return { ...(await openBoardFacts({ files: await openFiles(dataDir), log, version }, reader)), log };
  };
  const failing = async (): Promise<CheckedInventory> => ({ inventory, warnings: ['late'], isPartial: true });
  t.match(await facts('1.0.0', failing), { warnings: ['late'] });
  t.match(await facts(), { inventory, warnings: ['read 1'] });
  t.match(await facts(), { inventory, warnings: ['read 1'] });
  const kept = join(dataDir, 'board');
  writeFileSync(kept, readFileSync(kept, 'utf8').replace('read 1', 'read 7'));
  const { warnings, log } = await facts();
  t.same(warnings, ['read 2']);
  t.equal(log.all('what is kept of this board cannot be read').length, 1);
  const files = await openFiles(dataDir);
  await files.write('board', Buffer.from(JSON.stringify({ of: 'another boot', inventory, warnings: ['read 9'] })));
  t.match(await facts(), { warnings: ['read 3'] });
  t.match(await facts('1.0.1'), { warnings: ['read 4'] });
});

t.test('settings that cannot be an agent’s are refused, the rest is taken', async t => {
  t.match(checkAgentConfig(configOf(t)), { node: 'pi-1' });
  t.throws(() => checkAgentConfig(configOf(t, { node: 'Pi 1' })), { message: /^node: expected .* got "Pi 1"/ });
  for (const range of [
    { begin: 0, end: 9 },
    { begin: 9, end: 8 },
    { begin: 1, end: 65_536 },
    { begin: Number.NaN, end: 9 },
  ]) {
    t.throws(() => checkAgentConfig(configOf(t, { taskPorts: [range] })), { message: /^ports: expected a range/ });
  }
  t.match(defaultNodeId(), /^[a-z0-9-]{1,63}$/);
});

/** Walk 2: what a node says of itself reaches the fleet's view; its silence is noticed, and so is its return. */
import { mkdirSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type DoctorConfig, examineNode } from '../../src/agent/doctor.ts';
import { type Clock, dayMs } from '../../src/base/clock.ts';
import { systemClock } from '../../src/device/clock.ts';
import { parseJoinString, printJoinString } from '../../src/identity/join-string.ts';
import {
  agentConfig,
  makeHome,
  masterConfig,
  runAgent,
  runMaster,
  untilReady,
  untilTasks,
  version,
} from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { Relay } from '../fixtures/fleet-relay.ts';
import { until } from '../fixtures/fleet-until.ts';
import { ShiftedClock } from '../fixtures/shifted-clock.ts';

const home = makeHome(t);
const ports = new FreePorts();
const master = await runMaster(t, await masterConfig(join(home, 'master'), ports));
const { api } = master;
const relay = await Relay.open(t, master.config.mqttPort);
const config = await agentConfig(
  t,
  {
    dataDir: join(home, 'node'),
    node: 'node',
    join: relay.joinString(await api.joinString({ labels: { room: 'cellar' } })),
    heartbeatMs: 1_000,
  },
  ports,
);
// it lives on from one test to the next
const startAgent = () => runAgent(t, config);
let agent = await startAgent();
await untilReady(api, 'node');

const view = async () => (await api.nodes()).find(each => each.node === 'node');
const untilState = (state: string) =>
  until(`the node is ${state}`, async () => {
    const node = await view();
    return node?.state === state && node;
  });

t.test('a birth tells what a node is and what it has', async t => {
  const node = await untilState('ready');
  t.match(node, {
    version,
    profile: 'test-board',
    address: '127.0.0.1',
    meshPort: config.meshPort,
    boot: 1,
    tasks: 0,
    attributes: { room: 'cellar', profile: 'test-board' },
  });
  const { cpus = 0, mem = 0, disk = 0 } = node.total.scalars;
  t.ok(cpus > 0 && mem > 0 && disk > 0, JSON.stringify(node.total));
  t.strictSame(node.total, node.free, 'nothing is used');
  const count = (node.total.ranges.ports ?? []).reduce((sum, { begin, end }) => sum + end - begin + 1, 0);
  t.equal(count, 4);
  t.ok(node.usage.memUsedMb > 0 && node.usage.agentRssMb > 0 && node.inventory.cpuCount > 0);
});

t.test('a heartbeat renews what is known of a node', async t => {
  const { lastSeen, usage } = await untilState('ready');
  const later = await until('its usage is another one', async () => {
    const node = await view();
    return node !== undefined && JSON.stringify(node.usage) !== JSON.stringify(usage) && node;
  });
  t.ok(later.lastSeen > lastSeen);
  t.equal(later.boot, 1, 'not by another birth');
});

t.test('a node that falls silent is unreachable, its tasks go on, and it comes back as it was', async t => {
  await api.apply(job('stays', { command: ['/bin/sh', '-c', 'exec sleep 1000'] }));
  const [task] = await untilTasks(api, 'stays', 'TASK_RUNNING');
  relay.silence();
  await untilState('unreachable');
  t.match(master.log.all('a node is silent'), [{ fields: { node: 'node' } }]);
  t.match(await api.tasks('stays'), [{ id: task?.id, state: 'TASK_RUNNING', node: 'node' }]);
  await api.apply(job('late', { type: 'batch', command: ['/bin/sh', '-c', 'exit 0'] }));
  const waiting = await until('it is known why it waits', async () => {
    const [late] = await api.tasks('late');
    return late !== undefined && late.waiting.length > 0 && late;
  });
  t.match(waiting, { state: 'TASK_STAGING', node: null, waiting: [{ node: 'node', why: /unreachable/ }] });

  relay.resume();
  const back = await untilState('ready');
  t.equal(back.boot, 1);
  await untilTasks(api, 'late', 'TASK_FINISHED');
  t.match(await api.tasks('stays'), [{ id: task?.id, state: 'TASK_RUNNING', restarts: 0 }]);
});

t.test('a connection that is cut comes back by itself, and the node with it', async t => {
  const births = () => master.log.all('a node introduced itself').length;
  const before = births();
  relay.cut();
  await until('it has introduced itself again', () => births() > before);
  t.equal((await view())?.state, 'ready');
});

t.test('while nothing changes the agent writes nothing', async t => {
  // size, times, and number: whatever is written, renamed or made shows in one of them
  const onDisk = () =>
    readdirSync(config.dataDir, { recursive: true, encoding: 'utf8' })
      .sort()
      .map(name => {
        const { size, mtimeMs, ctimeMs, ino } = statSync(join(config.dataDir, name));
        return [name, size, mtimeMs, ctimeMs, ino].join(' ');
      });
  const heard = async (beats: number) => {
    let seen = 0;
    let last = (await view())?.lastSeen;
    await until(`${beats} heartbeats have come`, async () => {
      const now = (await view())?.lastSeen;
      if (now !== last) seen++;
      last = now;
      return seen >= beats;
    });
  };
  let before = onDisk();
  await until('what came before is written', async () => {
    await heard(2);
    const now = onDisk();
    const isSame = JSON.stringify(now) === JSON.stringify(before);
    before = now;
    return isSame;
  });
  await heard(5);
  t.same(onDisk(), before);
  const { disk, link } = (await view())?.spent ?? {};
  t.ok((disk?.byPurpose.identity ?? 0) > 0, 'what it has written is known to the master');
  t.match(link, { metered: false, byPurpose: { telemetry: Number, policies: Number, link: Number } });
});

t.test('an agent that starts again is the same node with the next boot number', async t => {
  await agent.stop();
  agent = await startAgent();
  const node = await until('it is back', async () => {
    const node = await view();
    return node?.boot === 2 && node;
  });
  t.match(node, { state: 'ready', tasks: 1 });
  t.equal((await api.nodes()).length, 1);
});

t.test('a profile that is applied holds at once, also after a start, until it is deleted', async t => {
  const untilProfile = (profile: string) =>
    until(`the profile is ${profile}`, async () => {
      const node = await view();
      return node?.profile === profile && node;
    });
  const before = await untilProfile('test-board');
  const profile = {
    apiVersion: 'mesolite/v1',
    kind: 'Profile',
    metadata: { name: 'field-box', namespace: 'istio-system' },
    spec: {
      title: 'A box in the field',
      precedence: 900,
      match: [{ minMemoryMb: 1 }],
      reserve: { cpus: 0, memMb: 100, diskMb: 0 },
      heartbeatMs: 1_000,
      diskSampleMs: 60_000,
      proxy: { maxConnections: 64, maxUpstreamConnections: 64, decisionCacheEntries: 64 },
      flashWear: { medium: 'a card', bytesPerDay: 1, enduranceGb: 1, source: 'a test' },
    },
  };
  const bad = { ...profile, spec: { ...profile.spec, match: [{ cpuModel: '(' }] } };
  await t.rejects(api.apply(bad), /spec\.match\[0\]\.cpuModel: not a regular expression/);
  await t.rejects(api.apply({ ...profile, metadata: { name: 'field-box' } }), /metadata\.namespace/);
  await api.apply(profile);
  const now = await untilProfile('field-box');
  t.equal(now.total.scalars.mem, (before.total.scalars.mem ?? 0) - 100_000);
  t.equal(now.boot, before.boot, 'without a start');
  await agent.stop();
  agent = await startAgent();
  await until('it has started again', async () => ((await view())?.boot ?? 0) > now.boot);
  t.equal((await untilProfile('field-box')).spent?.disk.budgetBytes, 1);
  await api.remove('Profile', 'field-box', 'istio-system');
  await untilProfile('test-board');
});

t.test('a doctor looks at the node beside its agent, and says where the way to the master ends', async t => {
  const look = async (clock: Clock = systemClock, changes: Partial<DoctorConfig> = {}) => {
    const findings = await examineNode({ clock }, { ...config, ...changes }, new AbortController().signal);
    return (check: string) => findings.filter(each => each.check === check).map(({ check: _, ...finding }) => finding);
  };
  const healthy = await look();
  t.match(healthy('profile'), [{ state: 'ok', what: /^test-board: / }]);
  t.match(healthy('disk'), [{ what: /MB are free for/ }]);
  t.match(healthy('ports'), [{ state: 'ok', what: `the agent runs (process ${process.pid})` }]);
  t.match(healthy('certificate'), [{ state: 'ok', what: /^node of .*, for \d+\.\d days more$/ }]);
  t.match(healthy('master'), [
    { state: 'ok', what: /^127\.0\.0\.1:\d+ is reached/ },
    { state: 'ok', what: /shows a certificate of this fleet$/ },
  ]);

  const inThePast = await look(new ShiftedClock(-systemClock.now()));
  t.match(inThePast('clock'), [{ state: 'failure', what: /1970-01-01/, fix: /timedatectl/ }]);
  t.match(inThePast('certificate'), [{ state: 'warning', what: /does not hold yet/, fix: /set the clock/ }]);
  const late = await look(new ShiftedClock(40 * dayMs));
  t.match(late('certificate'), [{ state: 'failure', what: /expired \d+\.\d days ago/, fix: /--replace/ }]);

  relay.silence();
  t.match((await look())('master'), [
    { state: 'ok' },
    { state: 'failure', what: /not known for the master: no answer/ },
  ]);
  relay.resume();

  const dataDir = t.testdir();
  const { join: _, ...notJoined } = { ...config, dataDir };
  const fresh = await examineNode({ clock: systemClock }, notJoined, new AbortController().signal);
  t.match(
    fresh.find(({ check }) => check === 'certificate'),
    { state: 'failure', fix: /mesolite token create/ },
  );
  t.match(
    fresh.find(({ check }) => check === 'ports'),
    { state: 'failure', what: /another program listens on/ },
  );
  t.strictSame(readdirSync(dataDir), [], 'it has changed nothing');
  const unheard = printJoinString({
    ...parseJoinString(config.join ?? ''),
    addresses: [
      { host: 'nowhere.invalid', port: 8883 },
      { host: '127.0.0.1', port: 1 },
      // where nothing listens for WebSockets either
      { host: '127.0.0.2', port: 1 },
    ],
  });
  mkdirSync(join(dataDir, 'identity'));
  const kept = await look(systemClock, { dataDir });
  t.match(kept('certificate'), [{ state: 'failure', what: /cannot be read/, fix: /sudo mesolite doctor/ }]);
  rmdirSync(join(dataDir, 'identity'));
  const lost = await look(systemClock, { dataDir, join: unheard, profile: 'of-nobody' });
  t.match(lost('profile'), [{ state: 'warning', what: /^there is no of-nobody: it is treated as a test-board$/ }]);
  t.match(lost('certificate'), [{ state: 'note' }]);
  t.match(lost('dns'), [{ state: 'failure', what: /^nowhere\.invalid has no address/, fix: /getent/ }]);
  t.match(lost('master'), [
    { state: 'warning', what: /^127\.0\.0\.1:1 is not reached: .*ECONNREFUSED.*by WebSocket on \d+, which is$/ },
    { state: 'failure', what: /^127\.0\.0\.2:1 is not reached: .*ECONNREFUSED/ },
  ]);
});

t.test('nothing of all this was an error', async t => {
  for (const { log } of [master, agent])
    t.strictSame(
      log.entries.filter(entry => entry.level === 'error'),
      [],
    );
});

import t, { type Test } from 'tap';
import { makeHeartbeat } from '../../src/agent/heartbeat.ts';
import type { Stock } from '../../src/model/artifact.ts';
import type { ProgressReport } from '../../src/model/message.ts';
import type { Usage } from '../../src/model/profile.ts';
import type { Trial } from '../../src/model/rollout.ts';
import { AgentWords } from '../fixtures/agent-words.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';

const intervalMs = 10_000;

const idle: Usage = { cpu: 0.1, memUsedMb: 1_000, diskUsedMb: 5_000, agentRssMb: 50, load1: 0.5 };

const describe = async () => ({
  version: '1.2.3',
  profile: 'board',
  inventory: {
    arch: 'x64',
    cpuModel: 'cpu',
    cpuCount: 4,
    memoryMb: 4_000,
    deviceTreeModel: '',
    dmiProduct: '',
    virtual: false,
    os: 'linux',
    kernel: '6',
  },
  total: { scalars: { cpus: 4_000 }, ranges: {}, sets: {} },
  attributes: { arch: 'x64' },
  address: '10.0.0.7',
  meshPort: 15_008,
  held: 'held',
  epoch: 1,
  generation: 2,
  tasks: [],
});

function stage(t: Test) {
  const words = new AgentWords();
  const log = new CapturedLog();
  const board = {
    usage: idle,
    isUp: true,
    fails: false,
    held: 'held',
    nonce: undefined as string | undefined,
    trial: undefined as Trial | undefined,
    progress: [] as ProgressReport[],
    askedForAll: [] as boolean[],
    intervalMs,
    stock: undefined as Stock | undefined,
  };
  const readUsage = async () => {
    if (board.fails) throw new Error('no such file');
    return board.usage;
  };
  const { sender, clock } = words;
  const parts = {
    sender,
    clock,
    log,
    readUsage,
    describe,
    heldHash: () => board.held,
    isUp: () => board.isUp,
    question: () => board.nonce,
    trial: () => board.trial,
    progress: async (all: boolean) => {
      board.askedForAll.push(all);
      return board.progress;
    },
    spent: () => ({ disk: { byPurpose: { audit: 7 } } }),
    stock: async (all: boolean) => (all ? { holds: { '0123456789abcdef': 7 } } : board.stock),
  };
  const heartbeat = makeHeartbeat(parts, { intervalMs: () => board.intervalMs });
  const ended = new AbortController();
  const run = heartbeat.run(ended.signal);
  t.teardown(async () => {
    ended.abort();
    await run;
  });
  const beat = async () => {
    await clock.advance(intervalMs);
    return words.take('hb');
  };
  return { words, log, board, heartbeat, beat };
}

t.test('a birth says who the node is, with what it uses', async t => {
  const { words, heartbeat } = stage(t);
  await heartbeat.birth();
  const { version, held, generation } = await describe();
  t.match(words.take('birth'), [{ version, held, generation, usage: idle, address: '10.0.0.7', boot: 3 }]);
});

t.test('a heartbeat says what is held, and of the usage only what changed', async t => {
  const { board, heartbeat, beat } = stage(t);
  await heartbeat.birth();
  t.match(await beat(), [{ full: true, usage: idle, held: 'held' }], 'the first one has it all');
  t.match(await beat(), [{ full: false }]);
  board.usage = { ...idle, memUsedMb: 1_200, load1: 0.505 };
  board.held = 'other';
  const [changed] = await beat();
  t.same(changed?.usage, { memUsedMb: 1_200 }, 'what moved by less than a twentieth is not worth its bytes');
  t.equal(changed?.held, 'other');
  t.same((await beat())[0]?.usage, {});
});

t.test('what the node has of artifacts is said at first, and again when it has changed', async t => {
  const { words, board, heartbeat, beat } = stage(t);
  const holds = { '0123456789abcdef': 7 };
  await heartbeat.birth();
  t.same(words.take('birth')[0]?.stock, { holds });
  t.same((await beat())[0]?.stock, { holds }, 'a full one has it, too');
  t.equal((await beat())[0]?.stock, undefined);
  board.stock = { holds: {}, bytesPerSecond: 1_000 };
  t.same((await beat())[0]?.stock, board.stock);
});

t.test('another pace is said with each heartbeat from the one on behind which it begins', async t => {
  const { words, board, heartbeat, beat } = stage(t);
  await heartbeat.birth();
  t.match(words.take('birth'), [{ heartbeatMs: intervalMs }]);
  board.intervalMs = 4 * intervalMs;
  await heartbeat.beat();
  t.equal(words.take('hb')[0]?.everyMs, undefined, 'the next one comes as was said');
  t.match(await beat(), [{ everyMs: 4 * intervalMs }]);
  t.same(await beat(), []);
  board.intervalMs = intervalMs;
  await heartbeat.beat();
  t.match(words.take('hb'), [{ everyMs: 4 * intervalMs }], 'one out of turn makes no promise that is not kept');
  await beat();
  await beat();
  const [back] = await beat();
  t.ok(back);
  t.equal(back?.everyMs, undefined);
  board.intervalMs = 2 * intervalMs;
  await beat();
  await heartbeat.birth();
  t.match(words.take('birth'), [{ heartbeatMs: 2 * intervalMs }]);
});

t.test('what the agent has written is said in full heartbeats alone', async t => {
  const { words, heartbeat, beat } = stage(t);
  await heartbeat.birth();
  const spent = { disk: { byPurpose: { audit: 7 } } };
  t.same(words.take('birth')[0]?.spent, spent);
  t.same((await beat())[0]?.spent, spent);
  t.equal((await beat())[0]?.spent, undefined);
});

t.test('small steps add up: what was said is what the next step is measured by', async t => {
  const { board, beat } = stage(t);
  await beat();
  const said: number[] = [];
  for (let step = 1; step <= 10; step++) {
    board.usage = { ...idle, memUsedMb: 1_000 + 20 * step };
    const [heartbeat] = await beat();
    if (heartbeat?.usage.memUsedMb !== undefined) said.push(heartbeat.usage.memUsedMb);
  }
  t.same(said, [1_060, 1_120, 1_180], 'never more than a twentieth off');
});

t.test('all values are sent again every quarter of an hour, in case one was lost', async t => {
  const { beat } = stage(t);
  const full: number[] = [];
  for (let i = 0; i < 181; i++) if ((await beat())[0]?.full) full.push(i);
  t.same(full, [0, 90, 180]);
});

t.test('a value that appears is said', async t => {
  const { board, beat } = stage(t);
  await beat();
  board.usage = { ...idle, temperatureC: 48 };
  t.same((await beat())[0]?.usage, { temperatureC: 48 });
});

t.test('a board that gets hotter says so degree by degree, however hot it is', async t => {
  const { board, beat } = stage(t);
  board.usage = { ...idle, temperatureC: 83 };
  await beat();
  board.usage = { ...idle, temperatureC: 83.9 };
  t.same((await beat())[0]?.usage, {});
  board.usage = { ...idle, temperatureC: 84 };
  t.same((await beat())[0]?.usage, { temperatureC: 84 });
});

t.test('the master is asked for the time, for as long as it is not known', async t => {
  const { board, beat, heartbeat, words } = stage(t);
  board.nonce = 'what time is it';
  await heartbeat.birth();
  t.equal(words.take('birth')[0]?.nonce, 'what time is it');
  t.equal((await beat())[0]?.nonce, 'what time is it');
  board.nonce = undefined;
  t.equal((await beat())[0]?.nonce, undefined);
});

t.test('what tasks tell of their progress goes along, and all of it where all is told', async t => {
  const { board, beat } = stage(t);
  t.notOk(Object.hasOwn((await beat())[0] ?? {}, 'progress'));
  board.progress = [{ task: 'work.default.0-a', percent: 40 }];
  t.same((await beat())[0]?.progress, board.progress);
  t.same(board.askedForAll, [true, false]);
});

t.test('while the link is down there are no heartbeats', async t => {
  const { board, beat } = stage(t);
  board.isUp = false;
  t.same(await beat(), []);
  board.isUp = true;
  t.equal((await beat()).length, 1);
});

t.test('a board that cannot be read for a moment does not end the heartbeats', async t => {
  const { board, beat, log } = stage(t);
  board.fails = true;
  t.same(await beat(), []);
  t.match(log.all('a heartbeat could not be made'), [{ fields: { reason: 'no such file' } }]);
  board.fails = false;
  t.equal((await beat()).length, 1);
});

import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { answerLog } from '../../src/agent/log-answers.ts';
import { makeOutputStreams, maxOutputStreams } from '../../src/agent/output-streams.ts';
import { openTaskDirectories } from '../../src/agent/task-directories.ts';
import { silentLog } from '../../src/base/log.ts';
import { makeLogKeeper } from '../../src/device/task-log.ts';
import { outputBounds } from '../../src/model/output.ts';
import { AgentWords } from '../fixtures/agent-words.ts';

const ask = { what: 'log', id: 'q1', task: 'web.default.0-a', stream: 'stdout', tailBytes: 65_536 } as const;

async function stage(t: Test, output: string) {
  const words = new AgentWords();
  const directories = await openTaskDirectories(t.testdir());
  const directory = directories.of(ask.task);
  mkdirSync(directory);
  const path = join(directory, 'stdout.log');
  writeFileSync(path, output);
  const ending = new AbortController();
  t.teardown(() => ending.abort());
  const { clock, sender } = words;
  const logKeeper = makeLogKeeper({ clock, log: silentLog });
  logKeeper.watch(directory);
  const streams = makeOutputStreams({ sender, clock }, ending.signal);
  const task = { isLive: true };
  const parts = { sender, directories, logKeeper, streams, clock, isLive: () => task.isLive };
  return { words, clock, directories, parts, path, task, streams, ending };
}

t.test('the end of a task’s output is told, then that it is all', async t => {
  const { parts, words } = await stage(t, 'one\ntwo\n');
  await answerLog(parts, ask);
  t.match(words.take('log'), [
    { id: 'q1', task: ask.task, stream: 'stdout', data: 'one\ntwo\n', end: false },
    { id: 'q1', data: '', end: true, error: undefined },
  ]);
  await answerLog(parts, { ...ask, tailBytes: 4 });
  t.equal(words.take('log')[0]?.data, 'two\n');
  await answerLog(parts, { ...ask, stream: 'stderr' });
  t.match(words.take('log'), [{ stream: 'stderr', data: '', end: true }]);
});

t.test('a long output goes in pieces that are messages', async t => {
  const output = '\u0001é'.repeat(20_000);
  const { parts, words } = await stage(t, output);
  await answerLog(parts, ask);
  for (const { payload } of words.words) t.ok(payload.length < 64 * 1024);
  const pieces = words.take('log');
  t.ok(pieces.length > 3);
  t.equal(pieces.map(piece => piece.data).join(''), output);
  t.same(
    pieces.map(piece => piece.end),
    pieces.map((_, i) => i === pieces.length - 1),
  );
});

t.test('the output of an ended task is told, and after that why there is none', async t => {
  const { parts, words, directories } = await stage(t, 'bye\n');
  await directories.retire(ask.task);
  await answerLog(parts, ask);
  t.equal(words.take('log')[0]?.data, 'bye\n');
  rmSync((await directories.findOutput(ask.task)) ?? '', { recursive: true });
  await answerLog(parts, ask);
  t.match(words.take('log'), [{ end: true, error: `node pi-1 has no output of task ${ask.task} any more` }]);
});

t.test('an output that moves while it is read, since its task has ended, is told all the same', async t => {
  for (const [follow, looks] of [
    [false, 1],
    [false, 3],
    [true, 3],
  ] as const) {
    const { parts, words, directories, task } = await stage(t, 'bye\n');
    task.isLive = false;
    let count = 0;
    const findOutput = async (id: string) => {
      const found = await directories.findOutput(id);
      if (++count === looks) await directories.retire(id);
      return found;
    };
    await answerLog({ ...parts, directories: { ...directories, findOutput } }, { ...ask, follow });
    const said = words.take('log');
    t.equal(said.map(each => each.data).join(''), 'bye\n', `moved after look ${looks}`);
    t.equal(said.at(-1)?.end, true);
  }
});

const followed = { ...ask, follow: true } as const;
const lookMs = 250;

t.test('an output is followed while it is wanted: what is there, then what comes, and nothing after that', async t => {
  const { parts, words, clock, path, streams } = await stage(t, 'old\n');
  const done = answerLog(parts, followed);
  await clock.untilSleeping(2);
  t.match(words.take('log'), [
    { number: 1, data: 'old\n', backlog: true, end: false },
    { number: 2, data: '', backlog: undefined, end: false },
  ]);
  appendFileSync(path, 'new\nh\u00e9'.slice(0, 5));
  await clock.advance(lookMs);
  await clock.untilSleeping(2);
  t.match(words.take('log'), [{ number: 3, data: 'new\nh', end: false }]);
  streams.acknowledge([{ id: ask.id, taken: 3, end: true }]);
  await done;
  appendFileSync(path, 'more\n');
  t.same(words.take('log'), []);
  t.equal(streams.size, 0);
});

t.test('a follower that is not heard of ends the stream', async t => {
  const { parts, words, clock, streams } = await stage(t, '');
  const done = answerLog(parts, followed);
  await clock.untilSleeping(2);
  streams.acknowledge([{ id: ask.id, taken: 1 }]);
  await clock.advance(outputBounds.leaseMs - 1);
  await clock.untilSleeping(2);
  t.equal(streams.size, 1);
  t.ok(words.take('log').length > 1, 'a quiet output says that the node is there');
  await clock.advance(1);
  await done;
  t.equal(streams.size, 0);
  t.equal(clock.sleepers, 0);
});

t.test('when the task has ended, all of its output is said, and that it is all', async t => {
  const { parts, words, clock, path, task, directories } = await stage(t, '');
  const done = answerLog(parts, followed);
  await clock.untilSleeping(2);
  appendFileSync(path, 'bye\n');
  task.isLive = false;
  await directories.retire(ask.task);
  await clock.advance(lookMs);
  await done;
  t.match(words.take('log').slice(-2), [{ data: 'bye\n' }, { data: '', end: true }]);
});

t.test('a flood is passed on at its rate, within a window, and says what was left out', async t => {
  const { parts, words, clock, path, streams } = await stage(t, '');
  void answerLog(parts, followed);
  await clock.untilSleeping(2);
  const line = `${'x'.repeat(99)}\n`;
  const flood = 2 * 1024 * 1024;
  appendFileSync(path, line.repeat(Math.ceil(flood / line.length)));
  await clock.advance(lookMs);
  await clock.untilSleeping(2);
  const [, first] = words.take('log');
  t.ok((first?.skipped ?? 0) > 1024 * 1024);
  t.ok((first?.data.length ?? 0) <= 32 * 1024);
  for (let i = 0; i < 20; i++) {
    await clock.advance(lookMs);
    await clock.untilSleeping(2);
  }
  t.equal(words.take('log').length, outputBounds.window - 2, 'no more than the window without an acknowledgement');
  streams.acknowledge([{ id: ask.id, taken: outputBounds.window }]);
  await clock.advance(lookMs);
  await clock.untilSleeping(2);
  t.ok(words.take('log').length > 0);
});

t.test('several outputs share the rate, and there is a bound to them', async t => {
  const { parts, words, clock, path } = await stage(t, '');
  for (let i = 0; i < maxOutputStreams; i++) void answerLog(parts, { ...followed, id: `q${i}` });
  await clock.untilSleeping(2 * maxOutputStreams);
  await answerLog(parts, { ...followed, id: 'more' });
  t.match(words.take('log').at(-1), { id: 'more', end: true, error: /8 outputs/ });
  appendFileSync(path, 'x'.repeat(200_000));
  await clock.advance(lookMs);
  await clock.untilSleeping(2 * maxOutputStreams);
  const said = words.take('log');
  t.equal(new Set(said.map(piece => piece.id)).size, maxOutputStreams);
  t.ok(said.reduce((sum, piece) => sum + piece.data.length, 0) <= 32 * 1024);
});

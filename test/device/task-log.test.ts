import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { silentLog } from '../../src/base/log.ts';
import { LogHistory } from '../../src/device/log-history.ts';
import { type LogPiece, LogReader } from '../../src/device/log-reader.ts';
import { makeLogKeeper, splitForWire } from '../../src/device/task-log.ts';
import { untilWritten } from '../../src/device/written.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

async function readAll(directory: string, tailBytes: number, history = new LogHistory(), stream = 'stdout' as const) {
  const reader = new LogReader(stream, history);
  await reader.seek(directory, tailBytes);
  return { reader, text: await readOn(reader, directory) };
}

async function readOn(reader: LogReader, directory: string, pieceBytes = 64): Promise<string> {
  let text = '';
  for (let piece = await reader.read(directory, pieceBytes); piece; piece = await reader.read(directory, pieceBytes))
    text += piece.text;
  return text;
}

/** A keeper of logs, and when it waits for what is written. */
function keepLogs(clock: FakeClock) {
  let waits = () => {};
  const waiting = new Promise<void>(resolve => (waits = resolve));
  const keeper = makeLogKeeper({
    clock,
    log: silentLog,
    untilWritten(...of) {
      waits();
      return untilWritten(...of);
    },
  });
  return { keeper, waiting };
}

t.test('the end of a log is read, whole characters of it', async t => {
  const directory = t.testdir({ 'stdout.log': 'one\ntwo\nthrée\n', 'stderr.log': '' });
  t.equal((await readAll(directory, 1_000)).text, 'one\ntwo\nthrée\n');
  t.equal((await readAll(directory, 4)).text, 'ée\n');
  t.equal((await readAll(directory, 3)).text, 'e\n', 'half of an é is left out');
  t.equal((await readAll(directory, 0)).text, '');
  t.equal((await readAll(join(directory, 'none'), 100)).text, '');
});

t.test('a tail reaches back into what was cut off', async t => {
  const directory = t.testdir({ 'stdout.log': 'new\n', 'stdout.log.1': 'older\nold\n' });
  t.equal((await readAll(directory, 8)).text, 'old\nnew\n');
  t.equal((await readAll(directory, 1_000)).text, 'older\nold\nnew\n');
});

t.test('a reader goes on over a cut without a gap, and says what it could not keep up with', async t => {
  const directory = t.testdir({ 'stdout.log': '0123456789' });
  const path = join(directory, 'stdout.log');
  const history = new LogHistory();
  const { reader, text } = await readAll(directory, 4, history);
  t.equal(text, '6789');
  appendFileSync(path, 'abcdef');
  writeFileSync(`${path}.1`, '89abcdef');
  writeFileSync(path, 'gh');
  history.cut(16, true);
  t.equal(await readOn(reader, directory), 'abcdefgh');
  appendFileSync(path, 'ijklmnop');
  t.match(await reader.read(directory, 64, 3), { text: 'nop', skipped: 5, bytes: 3 });

  writeFileSync(`${path}.1`, 'rst');
  writeFileSync(path, 'u');
  history.cut(10 + 20, true);
  t.match(await reader.read(directory, 64), { text: 'rst', skipped: 17 }, 'the rest was not kept');
  t.match(await reader.read(directory, 64), { text: 'u', skipped: 0 });
});

t.test('a log that somebody else empties is read from its start', async t => {
  const directory = t.testdir({ 'stdout.log': '0123456789' });
  const { reader } = await readAll(directory, 4);
  writeFileSync(join(directory, 'stdout.log'), 'new');
  let piece: LogPiece | undefined;
  for (let i = 0; i < 20 && piece === undefined; i++) piece = await reader.read(directory, 64);
  t.equal(piece?.text, 'new');
});

t.test('it is known when a part was written, not earlier than it was', async t => {
  const directory = t.testdir({ 'stdout.log': 'one\ntwo\n' });
  utimesSync(join(directory, 'stdout.log'), 5, 5);
  const history = new LogHistory();
  history.note(4, 3_000);
  history.note(4, 4_000);
  const reader = new LogReader('stdout', history);
  await reader.seek(directory, 100);
  t.match(await reader.read(directory, 100), { text: 'one\n', at: 3_000 });
  t.match(await reader.read(directory, 100), { text: 'two\n', at: 5_000 });
  for (let i = 0; i < 1_000; i++) history.note(4 + i, 10_000 + i);
  const mark = history.markAfter(500);
  t.ok(mark !== undefined && mark.position > 500 && mark.at - 10_000 === mark.position - 4);
});

t.test('a text is cut into pieces that fit into messages, whatever their JSON takes', async t => {
  t.strictSame(splitForWire('', 100), []);
  t.strictSame(splitForWire('hello', 100), ['hello']);
  for (const text of ['\u0001'.repeat(1_000), '🙂é'.repeat(500), 'x'.repeat(999)]) {
    const pieces = splitForWire(text, 64);
    t.equal(pieces.join(''), text);
    t.ok(pieces.every(piece => Buffer.byteLength(JSON.stringify(piece)) <= 64));
    t.ok(
      pieces.every(piece => Buffer.from(piece).toString() === piece),
      'no character is torn',
    );
  }
});

t.test('a log that grows over its bound is cut while its writer writes on', async t => {
  const directory = t.testdir();
  const path = join(directory, 'stdout.log');
  const writer = openSync(path, 'a');
  t.teardown(() => closeSync(writer));
  const clock = new FakeClock();
  const ending = new AbortController();
  const keeper = makeLogKeeper({ clock, log: silentLog }, { maxBytes: 100, everyMs: 1_000 });
  keeper.watch(directory);
  const done = keeper.start(ending.signal);

  writeSync(writer, 'a'.repeat(100));
  await clock.untilSleeping();
  await clock.advance(1_000);
  await clock.untilSleeping();
  t.equal(statSync(path).size, 100, 'at the bound nothing happens');

  writeSync(writer, 'b'.repeat(60));
  await clock.advance(1_000);
  await clock.untilSleeping();
  writeSync(writer, 'after\n');
  t.equal(readFileSync(path, 'utf8'), 'after\n');
  t.equal(readFileSync(`${path}.1`, 'utf8'), 'a'.repeat(40) + 'b'.repeat(60), 'the newest part is kept');

  keeper.forget(directory);
  appendFileSync(path, 'c'.repeat(500));
  await clock.advance(1_000);
  await clock.untilSleeping();
  t.equal(statSync(path).size, 506, 'a log that nobody asks for any more is left alone');
  ending.abort();
  await done;
});

t.test('logs that do not grow are not looked at, and the next line is seen', async t => {
  const directory = t.testdir({ 'stdout.log': '' });
  const path = join(directory, 'stdout.log');
  const clock = new FakeClock();
  const ending = new AbortController();
  let waits = () => {};
  const isWaiting = () => new Promise<void>(resolve => (waits = resolve));
  const keeper = makeLogKeeper(
    {
      clock,
      log: silentLog,
      untilWritten: (...of) => {
        const told = untilWritten(...of);
        waits();
        return told;
      },
    },
    { maxBytes: 100, everyMs: 1_000 },
  );
  keeper.watch(directory);
  const done = keeper.start(ending.signal);
  let waiting = isWaiting();
  await clock.untilSleeping();
  await clock.advance(1_000);
  await waiting;
  t.equal(clock.sleepers, 0, 'nothing has grown: until something is written nothing wakes');

  appendFileSync(path, 'x'.repeat(120));
  await clock.untilSleeping();
  waiting = isWaiting();
  await clock.advance(1_000);
  await clock.untilSleeping();
  t.equal(statSync(path).size, 0, 'what is over the bound is cut');
  await clock.advance(1_000);
  await waiting;
  t.equal(clock.sleepers, 0);
  appendFileSync(path, 'y');
  await clock.untilSleeping();
  waiting = isWaiting();
  await clock.advance(2_000);
  await waiting;
  t.equal(clock.sleepers, 1, 'what the system writes out later is counted then');

  keeper.watch(t.testdir({ more: {} }));
  await clock.untilSleeping();
  ending.abort();
  await done;
});

t.test('a task that has no directory yet keeps nobody awake, and is seen when it gets one', async t => {
  const directory = join(t.testdir({ other: { 'stdout.log': '' } }), 'later');
  const clock = new FakeClock();
  const ending = new AbortController();
  const { keeper, waiting } = keepLogs(clock);
  keeper.watch(directory);
  keeper.watch(join(directory, '..', 'other'));
  const done = keeper.start(ending.signal);
  await clock.advance(2_000);
  await waiting;
  await new Promise(resolve => setImmediate(resolve));
  t.equal(clock.sleepers, 0);
  mkdirSync(directory);
  await clock.untilSleeping();
  ending.abort();
  await done;
});

t.test('a log that cannot be looked at ends nobody', async t => {
  const directory = t.testdir({ 'stdout.log': '' });
  const path = join(directory, 'stdout.log');
  const clock = new FakeClock();
  const ending = new AbortController();
  const { keeper, waiting } = keepLogs(clock);
  keeper.watch(directory);
  rmSync(path);
  symlinkSync('stdout.log', path);
  const done = keeper.start(ending.signal);
  await clock.advance(2_000);
  await waiting;
  ending.abort();
  await t.resolves(done);
});

t.test('who waits for a directory that is not there is told at once that nobody will tell', async t => {
  const ending = new AbortController();
  t.equal(await untilWritten([join(t.testdir(), 'none')], ending.signal), false);
  const directory = t.testdir({});
  const written = untilWritten([directory], ending.signal);
  ending.abort();
  t.equal(await written, true);
  t.equal(await untilWritten([directory], ending.signal), true);
});

t.test('a log that cannot be kept is emptied all the same', async t => {
  const directory = t.testdir({ 'stdout.log': 'x'.repeat(200), 'stdout.log.new': { 'in the way': '' } });
  const clock = new FakeClock();
  const ending = new AbortController();
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (sentence: string) => void warnings.push(sentence) };
  const keeper = makeLogKeeper({ clock, log }, { maxBytes: 100, everyMs: 1_000 });
  keeper.watch(directory);
  const done = keeper.start(ending.signal);
  await clock.advance(1_000);
  await clock.untilSleeping();
  t.equal(statSync(join(directory, 'stdout.log')).size, 0);
  t.equal(warnings.length, 1);
  ending.abort();
  await done;
});

t.test('of a flood so much is kept as a card may be written, and its place says what was left out', async t => {
  const directory = t.testdir({ 'stdout.log': `old\n${'x'.repeat(300_000)}\n` });
  const path = join(directory, 'stdout.log');
  const clock = new FakeClock();
  const ending = new AbortController();
  const rate = { bytesPerSecond: 1024, burstBytes: 2_000 };
  const keeper = makeLogKeeper({ clock, log: silentLog }, { everyMs: 1_000, rate });
  keeper.watch(directory);
  const done = keeper.start(ending.signal);
  const writer = openSync(path, 'a');
  t.teardown(() => closeSync(writer));
  await clock.advance(1_000);
  await clock.untilSleeping();
  t.equal(statSync(path).size, 300_005, 'what was written while no agent ran has been paid for');

  const { reader } = await readAll(directory, 0, keeper.historyOf(directory, 'stdout'));
  writeSync(writer, `${'a'.repeat(1_999)}\n${'b'.repeat(1_048_576)}`);
  await readOn(reader, directory, 65_536);
  await clock.advance(1_000);
  await clock.untilSleeping();
  const note = '\n[mesolite: 1.0 MiB left out here, at most 1 KiB/s are kept]\n';
  t.equal(readFileSync(path, 'utf8').slice(300_005), `${'a'.repeat(1_999)}\n${note}`);
  writeSync(writer, 'after\n');
  t.equal(await readOn(reader, directory), `${note}after\n`, 'who had read it all goes on with what came in its place');

  await clock.advance(60_000);
  await clock.untilSleeping();
  writeSync(writer, 'c'.repeat(2_000));
  await clock.advance(1_000);
  await clock.untilSleeping();
  t.ok(readFileSync(path, 'utf8').endsWith(`after\n${'c'.repeat(2_000)}`), 'later there is room again');
  ending.abort();
  await done;
});

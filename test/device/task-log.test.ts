import { appendFileSync, closeSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { silentLog } from '../../src/base/log.ts';
import { makeLogKeeper, maxTailBytes, readLogTail, splitForWire } from '../../src/device/task-log.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

t.test('the end of a log is read, whole characters of it', async t => {
  const directory = t.testdir({ 'stdout.log': 'one\ntwo\nthrée\n', 'stderr.log': '' });
  t.equal(await readLogTail(directory, 'stdout', 1_000), 'one\ntwo\nthrée\n');
  t.equal(await readLogTail(directory, 'stdout', 4), 'ée\n');
  t.equal(await readLogTail(directory, 'stdout', 3), 'e\n', 'half of an é is left out');
  t.equal(await readLogTail(directory, 'stdout', 0), '');
  t.equal(await readLogTail(directory, 'stderr', 100), '');
  t.equal(await readLogTail(join(directory, 'none'), 'stdout', 100), '');
});

t.test('a tail reaches back into what was cut off, and has a bound', async t => {
  const directory = t.testdir({ 'stdout.log': 'new\n', 'stdout.log.1': 'older\nold\n' });
  t.equal(await readLogTail(directory, 'stdout', 8), 'old\nnew\n');
  writeFileSync(join(directory, 'stdout.log'), 'x'.repeat(maxTailBytes * 2));
  t.equal((await readLogTail(directory, 'stdout', Number.MAX_SAFE_INTEGER)).length, maxTailBytes);
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

import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openLineFile } from '../../src/device/line-file.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';

const bounds = { fileBytes: 64, waitingBytes: 100, flushEveryMs: 1_000 };

async function stage(t: Test) {
  const path = join(t.testdir(), 'lines.log');
  const clock = new FakeClock();
  const log = new CapturedLog();
  const stop = new AbortController();
  const lines = await openLineFile({ clock, log }, path, bounds);
  const ended = lines.run(stop.signal);
  const end = () => {
    stop.abort();
    return ended;
  };
  t.teardown(end);
  /** Time for a batch, and its end. */
  const batch = async () => {
    await clock.advance(bounds.flushEveryMs);
    await clock.untilSleeping();
  };
  const read = (file = path) => readFileSync(file, 'utf8');
  return { path, log, lines, batch, end, read };
}

t.test('lines wait for the next batch, and for the end', async t => {
  const { lines, batch, end, read } = await stage(t);
  lines.write('one');
  t.equal(read(), '');
  await batch();
  t.equal(read(), 'one\n');
  lines.write('two');
  await end();
  t.equal(read(), 'one\ntwo\n');
});

t.test('a full file makes room, and one is kept beside it', async t => {
  const { path, lines, batch, end, read } = await stage(t);
  for (const letter of ['a', 'b', 'c']) {
    lines.write(letter.repeat(40));
    await batch();
  }
  await end();
  t.equal(read(), `${'c'.repeat(40)}\n`);
  t.equal(read(`${path}.1`), `${'b'.repeat(40)}\n`);
});

t.test('what waits is bounded: a line more is refused', async t => {
  const { lines, end, read } = await stage(t);
  t.ok(lines.write('x'.repeat(60)));
  t.notOk(lines.write('y'.repeat(60)));
  await end();
  t.equal(read(), `${'x'.repeat(60)}\n`);
});

t.test('a file that cannot be written is an error at the start', async t => {
  const parts = { clock: new FakeClock(), log: new CapturedLog() };
  const expected = { code: 'START_FAILED', message: /^cannot write to / };
  await t.rejects(openLineFile(parts, join(t.testdir(), 'missing', 'lines.log')), expected);
});

t.test('later it is a warning, once, until lines can be written again', async t => {
  const { path, lines, batch, log, read } = await stage(t);
  mkdirSync(`${path}.1`);
  for (const letter of ['a', 'b', 'c']) {
    lines.write(letter.repeat(40));
    await batch();
  }
  t.match(log.entries, [{ level: 'warn', sentence: 'lines could not be written and are lost', fields: { path } }]);
  rmdirSync(`${path}.1`);
  lines.write('d'.repeat(40));
  await batch();
  t.equal(read(), `${'d'.repeat(40)}\n`);
});

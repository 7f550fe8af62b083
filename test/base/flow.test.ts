import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import t from 'tap';
import { Background } from '../../src/base/background.ts';
import { backoffMs } from '../../src/base/backoff.ts';
import { Cell } from '../../src/base/cell.ts';
import { Gate } from '../../src/base/gate.ts';
import { silentLog } from '../../src/base/log.ts';
import { seededRandom } from '../../src/base/random.ts';
import { aborted, onAbort } from '../../src/base/signal.ts';

t.test('backoff doubles up to its ceiling and spreads over nine tenths of it', async () => {
  const settings = fc.record({
    baseMs: fc.integer({ min: 10, max: 5000 }),
    maxMs: fc.integer({ min: 10, max: 100_000 }),
  });
  fc.assert(
    fc.property(
      settings,
      fc.nat(2000),
      fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
      (settings, attempt, dice) => {
        const ceiling = Math.min(settings.maxMs, settings.baseMs * 2 ** attempt);
        const wait = backoffMs(attempt, settings, () => dice);
        if (!Number.isInteger(wait) || wait > ceiling + 1 || wait < ceiling / 10 - 1)
          throw new Error(`${wait} of ${ceiling}`);
      },
    ),
    { seed: 11 },
  );
});

t.test('seeded dice fall the same way for the same seed, evenly, within [0, 1)', async t => {
  const [a, b, c] = [seededRandom(7), seededRandom(7), seededRandom(8)];
  const throws = Array.from({ length: 10_000 }, () => a());
  t.same(
    throws.slice(0, 100),
    Array.from({ length: 100 }, () => b()),
  );
  t.notSame(
    throws.slice(0, 100),
    Array.from({ length: 100 }, () => c()),
  );
  t.ok(throws.every(n => n >= 0 && n < 1));
  for (let tenth = 0; tenth < 10; tenth++) {
    const share = throws.filter(n => Math.floor(n * 10) === tenth).length;
    t.ok(share > 850 && share < 1150, `${tenth}: ${share}`);
  }
});

t.test('a cell gives the value that was set last and tells its watchers until they leave', async t => {
  const cell = new Cell(1);
  const seen: number[] = [];
  const leave = cell.watch(value => seen.push(value));
  cell.set(2);
  cell.set(3);
  leave();
  cell.set(4);
  t.same(seen, [2, 3]);
  t.equal(cell.value, 4);
});

t.test('a gate lets one through at a time, in order, past failures', async t => {
  const gate = new Gate();
  const steps: string[] = [];
  const work = (name: string, fails = false) =>
    gate.run(async () => {
      steps.push(`${name} in`);
      await Promise.resolve();
      steps.push(`${name} out`);
      if (fails) throw new Error(name);
      return name;
    });
  const results = await Promise.allSettled([work('a'), work('b', true), work('c')]);
  t.same(steps, ['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
  t.same(
    results.map(result => result.status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  t.equal(await work('d'), 'd');
});

t.test('a gate that is full says so at once, and has room again later', async t => {
  const gate = new Gate(2);
  let resolve: () => void = () => {};
  const promise = new Promise<void>(done => {
    resolve = done;
  });
  const running = [gate.run(() => promise), gate.run(() => promise)];
  await t.rejects(
    gate.run(async () => undefined),
    { code: 'QUEUE_FULL' },
  );
  resolve();
  await Promise.all(running);
  t.equal(await gate.run(async () => 1), 1);
});

t.test('a task runs once when the signal aborts, and its listener goes', async t => {
  const controller = new AbortController();
  const { signal } = controller;
  let runs = 0;
  onAbort(signal, () => runs++);
  const forget = onAbort(signal, () => t.fail('was taken away'));
  forget();
  t.equal(getEventListeners(signal, 'abort').length, 1);
  const ended = aborted(signal);
  controller.abort();
  controller.abort();
  await ended;
  t.equal(runs, 1);
  onAbort(signal, () => runs++)();
  t.equal(runs, 2, 'at once when it has aborted already');
  await aborted(signal);
});

t.test('a signal is listened to once, while there is something to do', async t => {
  const { signal } = new AbortController();
  const forgets = [1, 2].map(() => onAbort(signal, () => t.fail('was taken away')));
  t.equal(getEventListeners(signal, 'abort').length, 1);
  for (const forget of forgets) forget();
  t.equal(getEventListeners(signal, 'abort').length, 0);
});

t.test('the silent log takes everything', async t => {
  silentLog.with({ a: 1 }).info('nothing');
  silentLog.debug('nothing');
  silentLog.warn('nothing');
  silentLog.error('nothing');
  t.equal(silentLog.with({}), silentLog);
});

t.test(
  'work in the background is over when it is settled, that which it began too, and a failure is logged',
  async t => {
    const failures: unknown[] = [];
    const background = new Background({ ...silentLog, error: (_, fields) => failures.push(fields) });
    const said: string[] = [];
    const later = async (word: string) => {
      await new Promise(resolve => setImmediate(resolve));
      said.push(word);
    };
    background.run(
      'first',
      later('one').then(() => background.run('second', later('two'))),
    );
    background.run('third', Promise.reject(new Error('no')));
    await background.settled();
    t.strictSame(said, ['one', 'two']);
    t.match(failures, [{ what: 'third', reason: 'no' }]);
    await background.settled();
  },
);

import fc from 'fast-check';
import t from 'tap';
import { confirmAfterMs, judgeLife, type Life, type LifeVerdict, type Lives } from '../../src/lifecycle/lives.ts';

/** Hears births one after the other; what was found of each. */
function hear(...births: readonly (readonly [at: number, life: Partial<Life>])[]): LifeVerdict['verdict'][] {
  let lives: Lives | undefined;
  return births.map(([at, life]) => {
    const judged = judgeLife(lives, { start: 'a', boot: 1, seq: 0, address: '10.0.0.1', ...life }, at);
    lives = judged.lives;
    return judged.verdict;
  });
}

t.test('a node may connect again, start again and lose its last boot number', t => {
  const verdicts = hear(
    [0, { boot: 5 }],
    [10, { boot: 5, seq: 40, address: '10.0.0.2' }],
    [20, { boot: 5, seq: 41, address: '10.0.0.1' }],
    [30, { start: 'b', boot: 6 }],
    [40, { start: 'c', boot: 6 }],
    [50, { start: 'c', boot: 6, seq: 3 }],
    [60, { start: 'd', boot: 9 }],
  );
  t.same(new Set(verdicts), new Set(['lives']));
  t.end();
});

t.test('a boot counter that goes back is a copy once it is said again', t => {
  const verdicts = hear(
    [0, { start: 'a', boot: 7 }],
    [10, { start: 'b', boot: 3 }],
    [10, { start: 'b', boot: 3 }],
    [20 + confirmAfterMs, { start: 'b', boot: 3, seq: 1 }],
  );
  t.same(verdicts, ['lives', 'suspect', 'suspect', 'copied']);
  t.end();
});

t.test('two starts of the same boot number are a copy when both go on speaking', t => {
  const verdicts = hear(
    [0, { start: 'a', boot: 8 }],
    [1_000, { start: 'b', boot: 8 }],
    [2_000, { start: 'a', boot: 8, seq: 5 }],
    [3_000, { start: 'b', boot: 8, seq: 2 }],
    [3_500, { start: 'a', boot: 8, seq: 6 }],
    [4_500, { start: 'a', boot: 8, seq: 7 }],
  );
  t.same(verdicts, ['lives', 'lives', 'suspect', 'lives', 'suspect', 'copied']);
  t.end();
});

t.test('messages that were long on their way are no copy, however many and in whatever order', t => {
  const verdicts = hear(
    [0, { start: 'a', boot: 1, seq: 3 }],
    [10, { start: 'b', boot: 2 }],
    [20, { start: 'a', boot: 1, seq: 4 }],
    [30, { start: 'a', boot: 1, seq: 6 }],
    [40, { start: 'a', boot: 1, seq: 5 }],
    [9_000, { start: 'a', boot: 1, seq: 4 }],
    [9_010, { start: 'b', boot: 2, seq: 9 }],
  );
  t.notOk(verdicts.includes('copied'));
  t.end();
});

t.test('the reason says which boots were heard, and from where', t => {
  const first = judgeLife(undefined, { start: 'a', boot: 7, seq: 0, address: '10.0.0.1' }, 0);
  const copy = { start: 'b', boot: 3, seq: 0, address: '10.0.0.9' };
  const sign = judgeLife(first.lives, copy, 0);
  t.match(judgeLife(sign.lives, { ...copy, seq: 1 }, confirmAfterMs), {
    reason:
      'its boot counter has gone back (boot 7 from 10.0.0.1, boot 3 from 10.0.0.9): a copied card, or one restored from a backup',
  });
  t.end();
});

/** What may happen to one honest board between two births. */
const step = fc.constantFrom('reconnect', 'restart', 'restart on a card that forgot', 'two restarts');

t.test('no history of one honest board is ever taken for a copy', t => {
  fc.assert(
    fc.property(fc.array(fc.tuple(step, fc.nat(60_000)), { maxLength: 60 }), history => {
      let [at, start, boot, seq] = [0, 0, 1, 0];
      let lives: Lives | undefined;
      for (const [what, after] of history) {
        at += after;
        if (what === 'reconnect') seq += 1 + (after % 7);
        else [start, boot, seq] = [start + 1, boot + (what === 'two restarts' ? 2 : what === 'restart' ? 1 : 0), 0];
        const judged = judgeLife(lives, { start: `${start}`, boot, seq, address: `10.0.0.${after % 3}` }, at);
        if (judged.verdict !== 'lives') return false;
        lives = judged.lives;
      }
      return true;
    }),
    { seed: 3, numRuns: 500 },
  );
  t.end();
});

t.test('two boards that take the session from each other are always found', t => {
  const boots = fc.tuple(fc.nat(5), fc.nat(5));
  fc.assert(
    fc.property(
      boots,
      fc.array(fc.integer({ min: 100, max: 60_000 }), { minLength: 40, maxLength: 40 }),
      (boot, waits) => {
        let lives: Lives | undefined;
        let at = 0;
        for (const [i, wait] of waits.entries()) {
          at += wait;
          const who = i % 2;
          const judged = judgeLife(
            lives,
            { start: `${who}`, boot: boot[who] ?? 0, seq: i, address: `10.0.0.${who}` },
            at,
          );
          if (judged.verdict === 'copied') return true;
          lives = judged.lives;
        }
        return false;
      },
    ),
    { seed: 4, numRuns: 500 },
  );
  t.end();
});

import t from 'tap';
import { failuresAfter, type RestartRules, restartDelayMs, shouldRestart } from '../../src/lifecycle/restart.ts';

const rules = (policy: RestartRules['policy'], attempts = 3): RestartRules => ({
  policy,
  attempts,
  backoffMs: 1_000,
  maxBackoffMs: 10_000,
  resetAfterMs: 60_000,
});

t.test('the policy decides after which ends a task starts again', async t => {
  const table = (['always', 'onFailure', 'never'] as const).map(policy =>
    (['success', 'failure', 'unseen'] as const).map(outcome => shouldRestart(rules(policy), outcome, 1)),
  );
  t.strictSame(table, [
    [true, true, true],
    [false, true, true],
    [false, false, false],
  ]);
});

t.test('after as many failures in a row as attempts there is no further start', async t => {
  t.ok(shouldRestart(rules('always', 3), 'failure', 2));
  t.notOk(shouldRestart(rules('always', 3), 'failure', 3));
  t.notOk(shouldRestart(rules('always', 0), 'failure', 1));
});

t.test('failures are counted in a row, and unseen ends are none', async t => {
  t.equal(failuresAfter(rules('always'), 'failure', 2, 100), 3);
  t.equal(failuresAfter(rules('always'), 'failure', 2, 60_000), 1);
  t.equal(failuresAfter(rules('always'), 'unseen', 2, 100), 2);
});

t.test('the wait doubles up to its ceiling', async t => {
  const waits = [1, 2, 3, 4, 5, 6].map(failures => restartDelayMs(rules('always'), failures, () => 1));
  t.strictSame(waits, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
});

import t from 'tap';
import { minuteMs } from '../../src/base/clock.ts';
import { cadenceOf, slowestHeartbeatMs } from '../../src/lifecycle/cadence.ts';

const normalMs = 10_000;
const perMonth = (megabytes: number) => (megabytes * 1e6) / 30;
const idle = { dayBytes: 0, otherPerHour: 0 };

t.test('the smaller the budget, the slower the heartbeats, down to the pace that keeps a connection open', async t => {
  const paces = [500, 250, 100, 50, 20, 5].map(budget => cadenceOf(normalMs, perMonth(budget), idle).heartbeatMs);
  t.same(paces, [normalMs, normalMs, 40_000, 80_000, slowestHeartbeatMs, slowestHeartbeatMs]);
});

t.test('what other things take, heartbeats leave to them', async t => {
  const budget = perMonth(500);
  t.equal(cadenceOf(normalMs, budget, { dayBytes: 0, otherPerHour: 300_000 }).heartbeatMs, 10_000);
  t.equal(cadenceOf(normalMs, budget, { dayBytes: 0, otherPerHour: 600_000 }).heartbeatMs, 20_000);
  t.equal(cadenceOf(normalMs, budget, { dayBytes: 0, otherPerHour: 1e9 }).heartbeatMs, 20_000, 'a quarter is theirs');
});

t.test('over the budget all that is not urgent waits', async t => {
  const within = cadenceOf(normalMs, perMonth(500), idle);
  const over = cadenceOf(normalMs, perMonth(500), { dayBytes: perMonth(501), otherPerHour: 0 });
  t.equal(within.holdMs, 5 * minuteMs);
  t.same(over, { heartbeatMs: slowestHeartbeatMs, holdMs: 30 * minuteMs });
  t.equal(cadenceOf(5 * minuteMs, 1, { dayBytes: 2, otherPerHour: 0 }).heartbeatMs, 5 * minuteMs, 'never faster');
});

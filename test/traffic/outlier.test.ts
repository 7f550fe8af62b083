import fc from 'fast-check';
import t from 'tap';
import { minuteMs, secondMs } from '../../src/base/clock.ts';
import {
  defaultOutlier,
  isEjected,
  isPanicking,
  localOrigin,
  newHostHealth,
  newOutlierState,
  type OutlierSettings,
  recordOutcome,
  sweep,
} from '../../src/traffic/outlier.ts';

function cluster(size: number) {
  const hosts = Array.from({ length: size }, newHostHealth);
  const [first = newHostHealth()] = hosts;
  const state = newOutlierState(hosts, 0);
  const fail = (host: typeof first, now: number, times = defaultOutlier.consecutive5xx) => {
    let ejected = false;
    for (let i = 0; i < times; i++) ejected = recordOutcome(state, host, 500, now, defaultOutlier);
    return ejected;
  };
  return { hosts, first, state, fail };
}

t.test('five failures in a row eject a host, a success in between does not', async t => {
  const { first, state, fail } = cluster(3);
  t.notOk(fail(first, 0, 4));
  recordOutcome(state, first, 200, 0, defaultOutlier);
  t.notOk(fail(first, 0, 4));
  t.ok(fail(first, 0, 1));
  t.ok(isEjected(first));
});

t.test('ejections last 30, 60 and 90 s, and end at a sweep', async t => {
  const { first, state, fail } = cluster(3);
  let now = 0;
  for (const lasting of [30, 60, 90]) {
    t.ok(fail(first, now));
    sweep(state, now + (lasting - 1) * secondMs, defaultOutlier);
    t.ok(isEjected(first), `still out after ${lasting - 1} s`);
    now += lasting * secondMs;
    sweep(state, now, defaultOutlier);
    t.notOk(isEjected(first), `back after ${lasting} s`);
    t.equal(state.ejected, 0);
  }
});

t.test('each healthy interval makes the next ejection shorter by one base time', async t => {
  const { first, state, fail } = cluster(3);
  let now = 0;
  for (const lasting of [30, 60]) {
    fail(first, now);
    now += lasting * secondMs;
    sweep(state, now, defaultOutlier);
  }
  now += 10 * secondMs;
  sweep(state, now, defaultOutlier);
  fail(first, now);
  t.equal(first.ejectedUntil - now, 60 * secondMs);
});

t.test('no ejection is longer than the longest', async t => {
  const { first, state, fail } = cluster(3);
  let now = 0;
  for (let i = 0; i < 20; i++) {
    fail(first, now);
    t.ok(first.ejectedUntil - now <= 5 * minuteMs);
    now = first.ejectedUntil;
    sweep(state, now, defaultOutlier);
  }
});

t.test('one host may be out in a small cluster, a tenth in a large one, and never the last', async t => {
  for (const [size, most] of [
    [1, 0],
    [2, 1],
    [3, 1],
    [10, 1],
    [20, 2],
    [40, 4],
  ] as const) {
    const { hosts, fail } = cluster(size);
    for (const host of hosts) fail(host, 0);
    t.equal(hosts.filter(isEjected).length, most, `${size} hosts`);
  }
});

t.test('hosts that were ejected stay so when the list of hosts changes', async t => {
  const { first, fail } = cluster(3);
  fail(first, 0);
  const next = newOutlierState([first, newHostHealth(), newHostHealth()], 5 * secondMs);
  t.equal(next.ejected, 1);
  sweep(next, 35 * secondMs, defaultOutlier);
  t.notOk(isEjected(first));
});

t.test('whatever happens, the count of ejected hosts is right and one is left', async () => {
  const step = fc.record({
    host: fc.nat(4),
    failed: fc.boolean(),
    afterMs: fc.nat(40_000),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), steps => {
      const { hosts, state } = cluster(5);
      let now = 0;
      for (const { host, failed, afterMs } of steps) {
        now += afterMs;
        sweep(state, now, defaultOutlier);
        const health = hosts[host];
        if (health !== undefined) recordOutcome(state, health, failed ? 503 : 200, now, defaultOutlier);
        const out = hosts.filter(isEjected).length;
        if (out !== state.ejected || out === hosts.length) return false;
      }
      return true;
    }),
    { seed: 4, numRuns: 500 },
  );
});

function ejectedAfter(settings: Partial<OutlierSettings>, statuses: readonly number[], size = 3): number {
  const { first, state } = cluster(size);
  const all = { ...defaultOutlier, ...settings };
  return statuses.findIndex(status => recordOutcome(state, first, status, 0, all)) + 1;
}

const times = (count: number, status: number) => Array.from({ length: count }, () => status);

t.test('gateway errors are counted by themselves, and only when asked for', async t => {
  t.equal(ejectedAfter({ consecutive5xx: 0 }, times(9, 503)), 0);
  const settings = { consecutive5xx: 0, consecutiveGatewayErrors: 3 };
  t.equal(ejectedAfter(settings, times(9, 502)), 3);
  t.equal(ejectedAfter(settings, [502, 503, 504]), 3);
  t.equal(ejectedAfter(settings, times(9, 500)), 0);
  t.equal(ejectedAfter(settings, [502, 503, 500, 504, 502, 503]), 6, 'a 500 is no gateway error');
  t.equal(ejectedAfter(settings, times(9, localOrigin)), 3, 'no connection is taken for a 503');
});

t.test('when they are split, what happens on the way and what the host says are counted apart', async t => {
  const split = { splitLocalOrigin: true, consecutiveLocalOrigin: 2, consecutive5xx: 3 };
  t.equal(ejectedAfter(split, [localOrigin, localOrigin]), 2);
  t.equal(ejectedAfter(split, [localOrigin, 500, localOrigin, 500, 500]), 5, 'a 500 is a connection that came about');
  t.equal(ejectedAfter({ ...split, consecutiveLocalOrigin: 0 }, times(9, localOrigin)), 0);
});

t.test('further statuses may count as errors', async t => {
  t.equal(ejectedAfter({}, times(9, 429)), 0);
  t.equal(ejectedAfter({ errorCodes: new Set([429]) }, [429, 500, 429, 500, 429]), 5);
});

t.test('all hosts may be ejected where 100 % is asked for; with too few left all are in the choice again', async t => {
  const settings = { ...defaultOutlier, maxEjectionPercent: 100 };
  const { hosts, state } = cluster(4);
  for (const [i, host] of hosts.entries()) {
    for (const status of times(5, 500)) recordOutcome(state, host, status, 0, settings);
    t.equal(state.ejected, i + 1);
    t.notOk(isPanicking(state, settings), 'Istio has no panic unless asked for');
    t.equal(isPanicking(state, { ...settings, minHealthPercent: 50 }), i + 1 > 2);
  }
  t.equal(ejectedAfter({ maxEjectionPercent: 100 }, times(5, 500), 1), 5, 'even a single one');
});

t.test(
  'a host that was ejected is back in the choice when it is the only one left, and nobody asked for less',
  async t => {
    const { first, fail } = cluster(3);
    fail(first, 0);
    const left = newOutlierState([first], 5 * secondMs);
    t.ok(isPanicking(left, defaultOutlier));
    t.notOk(isPanicking(left, { ...defaultOutlier, maxEjectionPercent: 100 }));
  },
);

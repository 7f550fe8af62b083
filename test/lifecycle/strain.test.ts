import fc from 'fast-check';
import t from 'tap';
import { secondMs } from '../../src/base/clock.ts';
import { calmSince, judgeStrain, type Strain } from '../../src/lifecycle/strain.ts';
import type { Thermal, Usage } from '../../src/model/profile.ts';

const idle: Usage = { cpu: 0.1, memUsedMb: 1, diskUsedMb: 1, agentRssMb: 1, load1: 0.2 };

/** The level after each heartbeat, ten seconds apart. */
function levels(usages: readonly Partial<Usage>[], thermal?: Thermal): string[] {
  let strain: Strain = calmSince(0);
  return usages.map((usage, i) => {
    strain = judgeStrain(strain, { ...idle, ...usage }, { cpuCount: 4, thermal }, i * 10 * secondMs);
    return strain.level;
  });
}

const times = (count: number, usage: Partial<Usage>) => Array.from({ length: count }, () => usage);

t.test('a processor that is kept slow counts at once, one that is busy after 20 s', async t => {
  t.same(levels([{}, { throttled: 1 }]), ['calm', 'slow']);
  for (const busy of [{ cpu: 0.95 }, { load1: 8 }, { temperatureC: 86 }]) {
    t.same(levels([{}, busy, busy, busy]), ['calm', 'calm', 'calm', 'busy']);
  }
});

t.test('a board that is too hot counts at once, and until it has been cool for a minute', async t => {
  const thermal = { throttleC: 80, drainC: 84, resumeC: 70 };
  const at = (temperatureC: number, count = 1) => times(count, { temperatureC });
  t.same(levels([{}, ...at(79), ...at(84)], thermal), ['calm', 'calm', 'hot']);
  t.same(new Set(levels([...at(84), ...at(71, 20)], thermal)), new Set(['hot']), 'cooler is not cool');
  t.same(levels([...at(84), ...at(69, 7)], thermal).slice(-2), ['hot', 'calm']);
  t.same(
    levels([{}, ...at(80, 4), ...at(71, 9), ...at(69, 7)], thermal).filter((_, i) => [4, 13, 20].includes(i)),
    ['busy', 'busy', 'calm'],
  );
  t.same(levels([{ throttled: 1 }, ...at(84)], thermal), ['slow', 'hot']);
});

t.test('what is better counts after a minute', async t => {
  t.same(levels([{ throttled: 1 }, ...times(7, {})]), [...times(6, {}).map(() => 'slow'), 'slow', 'calm']);
  t.same(levels([{ throttled: 1 }, ...times(7, { cpu: 1 })]).slice(-2), ['slow', 'busy']);
  t.same(levels([...times(3, { cpu: 1 }), ...times(7, {})]).slice(-2), ['busy', 'calm']);
});

t.test('what goes up and down about a limit changes nothing', async t => {
  const swinging = [{ cpu: 0.95 }, { cpu: 0.85 }];
  t.same(new Set(levels(Array.from({ length: 60 }, (_, i) => swinging[i % 2] ?? {}))), new Set(['calm']));
  const afterwards = levels([
    ...times(3, { cpu: 0.95 }),
    ...Array.from({ length: 60 }, (_, i) => swinging[i % 2] ?? {}),
  ]);
  t.same(new Set(afterwards.slice(3)), new Set(['busy']));
});

t.test('whatever a node says, its weight changes at most three times in a minute and a half', async () => {
  const usage = fc.record({ cpu: fc.double({ min: 0, max: 1, noNaN: true }), throttled: fc.constantFrom(0, 1) });
  fc.assert(
    fc.property(fc.array(usage, { minLength: 10, maxLength: 80 }), usages => {
      const seen = levels(usages);
      for (let from = 0; from + 9 <= seen.length; from++) {
        const part = seen.slice(from, from + 9);
        if (part.filter((level, i) => i > 0 && level !== part[i - 1]).length > 3) return false;
      }
      return true;
    }),
    { seed: 6, numRuns: 500 },
  );
});

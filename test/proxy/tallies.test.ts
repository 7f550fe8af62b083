import t from 'tap';
import type { Shadow } from '../../src/model/policy.ts';
import { countShadow, maxTallies, Tallies } from '../../src/proxy/tallies.ts';

const named = (policy: string, id = policy) => ({ kind: 'AuthorizationPolicy' as const, policy, id });
const shadow = (...effects: Shadow['effects']): Shadow => ({ audited: undefined, verdict: undefined, effects });
const all = () => true;

t.test('each policy counts its calls, and what it would have done', async t => {
  const tallies = new Tallies();
  const two = [tallies.of(named('shop/a')), tallies.of(named('shop/b'))];
  countShadow(two, undefined);
  countShadow(two, shadow('deny', 'none'));
  countShadow(two, shadow('allow', 'audit'));
  t.strictSame(tallies.snapshot(all), [
    { kind: 'AuthorizationPolicy', policy: 'shop/a', calls: 3, allowed: 1, denied: 1, audited: 0 },
    { kind: 'AuthorizationPolicy', policy: 'shop/b', calls: 3, allowed: 0, denied: 0, audited: 1 },
  ]);
});

t.test('a policy goes on counting until it is another', async t => {
  const tallies = new Tallies();
  countShadow([tallies.of(named('shop/a', '1'))], undefined);
  countShadow([tallies.of(named('shop/a', '1'))], undefined);
  t.match(tallies.snapshot(all), [{ calls: 2 }]);
  countShadow([tallies.of(named('shop/a', '2'))], undefined);
  t.match(
    tallies.snapshot((_, id) => id === '2'),
    [{ calls: 1 }],
  );
  t.equal(tallies.snapshot(all).length, 1, 'the other one is forgotten');
});

t.test('as many are counted as one message takes', async t => {
  const tallies = new Tallies();
  for (let i = 0; i < maxTallies + 5; i++) tallies.of(named(`shop/${i}`)).calls++;
  t.equal(tallies.snapshot(all).length, maxTallies);
  tallies.snapshot((_, id) => id !== 'shop/0');
  tallies.of(named('shop/x')).calls++;
  t.equal(tallies.snapshot(all).length, maxTallies, 'there is room again');
});

import t from 'tap';
import { makeShadows } from '../../src/master/shadows.ts';
import type { ShadowReport } from '../../src/model/message.ts';

const head = { v: 1, boot: 1, seq: 0, ts: 0 } as const;
const report = (revision: number, ...counts: [policy: string, calls: number, denied: number][]): ShadowReport => ({
  ...head,
  revision,
  counts: counts.map(([policy, calls, denied]) => ({
    kind: 'AuthorizationPolicy',
    policy,
    calls,
    denied,
    allowed: 0,
    audited: 1,
  })),
});
const policy = (name: string, revision: number) => ({ kind: 'AuthorizationPolicy', namespace: 'shop', name, revision });

t.test('what the nodes say of a policy is added up, as far as they speak of what it is now', async t => {
  const shadows = makeShadows();
  shadows.onReport('a', report(5, ['shop/x', 10, 1], ['shop/y', 3, 3]));
  shadows.onReport('b', report(6, ['shop/x', 5, 0]));
  t.same(shadows.of(policy('x', 5)), { calls: 15, denied: 1, allowed: 0, audited: 2 });
  t.same(shadows.of(policy('x', 6)), { calls: 5, denied: 0, allowed: 0, audited: 1 });
  t.equal(shadows.of(policy('x', 7)), undefined);
  t.equal(shadows.of(policy('z', 1)), undefined);
  shadows.onReport('a', report(7, ['shop/x', 11, 2]));
  t.match(shadows.of(policy('x', 6)), { calls: 16, denied: 2 }, 'a report replaces the one before');
  shadows.onReport('b', report(7));
  t.match(shadows.of(policy('x', 6)), { calls: 11 });
});

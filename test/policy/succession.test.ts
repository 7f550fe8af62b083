import fc from 'fast-check';
import t from 'tap';
import { succeed } from '../../src/policy/succession.ts';

const now = Date.UTC(2030, 0, 1);
const issue = { revision: 5, issuedAt: now - 1000, expiresAt: now + 1000 };

t.test('the first document and a newer one are taken', async t => {
  t.same(succeed(undefined, issue, now), { take: 'replace' });
  t.same(succeed({ revision: 4, expiresAt: now - 1 }, issue, now), { take: 'replace' });
});

t.test('the same revision changes nothing', async t => {
  t.same(succeed({ revision: 5, expiresAt: now }, issue, now), { take: 'unchanged' });
});

t.test('an older revision is refused, though it has not expired', async t => {
  t.match(succeed({ revision: 6, expiresAt: now - 1 }, issue, now), {
    take: 'refuse',
    reason: 'revision 5 is older than 6, which is in force',
  });
});

t.test('what has expired is refused, newer or not', async t => {
  t.match(succeed(undefined, issue, now + 1000), { take: 'refuse', reason: /^it expired 0 ms ago$/ });
  t.match(succeed({ revision: 5, expiresAt: now }, issue, now + 5000), { take: 'refuse', reason: /expired/ });
  t.match(succeed(undefined, { ...issue, expiresAt: issue.issuedAt }, 0), {
    take: 'refuse',
    reason: /not after its issue/,
  });
});

t.test('the revision in force never falls, in whatever order documents come', async () => {
  const issues = fc.array(fc.record({ revision: fc.nat(20), issuedAt: fc.nat(50), expiresAt: fc.nat(100) }));
  fc.assert(
    fc.property(issues, issues => {
      let inForce: { revision: number; expiresAt: number } | undefined;
      for (const [at, incoming] of issues.entries()) {
        if (succeed(inForce, incoming, at).take === 'refuse') continue;
        if (incoming.expiresAt <= at || incoming.revision < (inForce?.revision ?? 0)) throw new Error('taken');
        inForce = incoming;
      }
    }),
    { seed: 8 },
  );
});

import t, { type Test } from 'tap';
import type { Refusal } from '../../src/agent/refusals.ts';
import { type KnownManifest, watchForWithheld } from '../../src/agent/withheld.ts';
import { dayMs, secondMs } from '../../src/base/clock.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

const now = Date.UTC(2030, 0, 1);

function watch(t: Test) {
  const clock = new FakeClock(now);
  const seen = {
    isUp: true,
    manifest: undefined as KnownManifest | undefined,
    policy: 0,
    services: new Map<string, number>(),
  };
  const reports: Refusal[] = [];
  const ended = new AbortController();
  const running = watchForWithheld(
    {
      clock,
      refusals: { report: refusal => reports.push(refusal) },
      isUp: () => seen.isUp,
      manifest: () => seen.manifest,
      policyRevision: () => seen.policy,
      serviceRevisions: () => seen.services,
    },
    ended.signal,
  );
  t.teardown(() => {
    ended.abort();
    return running;
  });
  return { clock, seen, reports };
}

const manifest = { policy: 5, services: { 'web.default': 7 }, revision: 9, expiresAt: now + dayMs };

t.test('a document that the manifest names and that does not come is missed once', async t => {
  const { clock, seen, reports } = watch(t);
  Object.assign(seen, { manifest, policy: 4, services: new Map([['web.default', 0]]) });
  await clock.advance(10 * secondMs);
  t.same(reports, [], 'it may be on its way');
  await clock.advance(10 * secondMs);
  t.match(reports, [
    { kind: 'policy', subject: 'all', revision: 5, withheld: true, reason: /revision 4 is the newest that came/ },
    { kind: 'service', subject: 'web.default', revision: 7, withheld: true },
  ]);
  await clock.advance(60 * secondMs);
  t.equal(reports.length, 2);
});

t.test('a document that comes in time, or is newer than the manifest, is not missed', async t => {
  const { clock, seen, reports } = watch(t);
  Object.assign(seen, { manifest, policy: 4, services: new Map([['web.default', 8]]) });
  await clock.advance(10 * secondMs);
  seen.policy = 5;
  await clock.advance(60 * secondMs);
  t.same(reports, []);
});

t.test('a service that nobody here calls is not missed', async t => {
  const { clock, seen, reports } = watch(t);
  Object.assign(seen, { manifest, policy: 5 });
  await clock.advance(60 * secondMs);
  t.same(reports, []);
});

t.test('one that was missed and came is missed anew when the next does not come', async t => {
  const { clock, seen, reports } = watch(t);
  Object.assign(seen, { manifest, policy: 4 });
  await clock.advance(20 * secondMs);
  seen.policy = 5;
  await clock.advance(10 * secondMs);
  seen.manifest = { ...manifest, policy: 6, revision: 10 };
  await clock.advance(20 * secondMs);
  t.match(
    reports.map(({ revision }) => revision),
    [5, 6],
  );
});

t.test('a manifest that never comes, or is not renewed, is missed while there is a link', async t => {
  const { clock, seen, reports } = watch(t);
  await clock.advance(20 * secondMs);
  t.match(reports, [{ kind: 'manifest', revision: 0, withheld: true, reason: 'no manifest has come' }]);
  Object.assign(seen, { manifest, policy: 5 });
  await clock.advance(dayMs);
  t.match(reports.at(1), { kind: 'manifest', revision: 9, withheld: true, reason: /expired/ });
  t.equal(reports.length, 2);
});

t.test('without a link nothing is missed', async t => {
  const { clock, seen, reports } = watch(t);
  seen.isUp = false;
  await clock.advance(dayMs);
  t.same(reports, []);
});

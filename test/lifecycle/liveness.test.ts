import t from 'tap';
import { hintDeath, judgeLease, renewLease } from '../../src/lifecycle/liveness.ts';

const seen = { boot: 7, heartbeatMs: 10_000 };
const lease = renewLease(undefined, seen, 1_000);

t.test('a node is ready until three heartbeats in a row are missing', async t => {
  t.strictSame(judgeLease(lease, 1_000), { state: 'ready', lookAgainAt: 31_000 });
  t.equal(judgeLease(lease, 30_999).state, 'ready');
  t.strictSame(judgeLease(lease, 31_000), { state: 'unreachable' });
});

t.test('how many may be missing can be set', async t => {
  t.equal(judgeLease(lease, 21_000, 2).state, 'unreachable');
});

t.test('a heartbeat brings an unreachable node back', async t => {
  t.equal(judgeLease(renewLease(lease, seen, 90_000), 90_000).state, 'ready');
});

t.test('a death is a hint: the node has one interval to contradict it', async t => {
  const hinted = hintDeath(lease, 7, 5_000);
  t.strictSame(judgeLease(hinted, 5_000), { state: 'ready', lookAgainAt: 15_000 });
  t.equal(judgeLease(hinted, 15_000).state, 'unreachable');
  t.equal(judgeLease(renewLease(hinted, seen, 6_000), 15_000).state, 'ready', 'it did');
});

t.test('a death never lengthens a lease, nor does a second one', async t => {
  t.strictSame(judgeLease(hintDeath(lease, 7, 30_000), 30_000), { state: 'ready', lookAgainAt: 31_000 });
  const twice = hintDeath(hintDeath(lease, 7, 5_000), 7, 12_000);
  t.equal(judgeLease(twice, 15_000).state, 'unreachable');
});

t.test('what an older boot sent does not count', async t => {
  t.equal(hintDeath(lease, 6, 5_000), lease);
  t.equal(renewLease(lease, { boot: 6, heartbeatMs: 1 }, 9_000), lease);
});

t.test('a new boot renews with its own interval', async t => {
  const reborn = renewLease(hintDeath(lease, 7, 5_000), { boot: 8, heartbeatMs: 30_000 }, 6_000);
  t.strictSame(judgeLease(reborn, 6_000), { state: 'ready', lookAgainAt: 96_000 });
});

import t from 'tap';
import { TokenBucket } from '../../src/base/token-bucket.ts';

t.test('a bucket begins full, fills with time, and not beyond its burst', async t => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 3 }, 1000);
  t.strictSame(
    [1, 1, 1, 1].map(n => bucket.take(n, 1000)),
    [true, true, true, false],
  );
  t.equal(bucket.take(1, 1099), false, 'not yet a whole token');
  t.equal(bucket.take(1, 1101), true, 'what was not taken stays');
  t.equal(bucket.take(4, 1_000_000), false, 'more than the burst is never there');
  t.equal(bucket.take(3, 1_000_000), true);
  t.equal(bucket.take(1, 1_000_100), true);
  t.equal(bucket.take(1, 1_000_000), false, 'what comes late takes nothing back');
  t.equal(bucket.take(1, 1_000_200), true);
});

import t from 'tap';
import { parseCanary } from '../../src/cli/canary.ts';

t.test('a canary is a share, labels or names', async t => {
  t.same(parseCanary('10%'), { percent: 10 });
  t.same(parseCanary('0.5%'), { percent: 0.5 });
  t.same(parseCanary('100%'), { percent: 100 });
  t.same(parseCanary('zone=test'), { labels: { zone: 'test' } });
  t.same(parseCanary('zone=test,example.com/rack=2,empty='), {
    labels: { zone: 'test', 'example.com/rack': '2', empty: '' },
  });
  t.same(parseCanary('pi-1'), { nodes: ['pi-1'] });
  t.same(parseCanary('pi-1,pi-2'), { nodes: ['pi-1', 'pi-2'] });
});

t.test('anything else is refused with what was expected', async t => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['0%', /more than 0% and at most 100%/],
    ['101%', /more than 0% and at most 100%/],
    ['-1%', /a share as 10%/],
    ['1e2%', /a share as 10%/],
    ['', /a share as 10%/],
    ['pi-1,', /a share as 10%/],
    ['Pi 1', /a share as 10%/],
    ['=x', /labels as zone=test/],
    ['zone=a,pi-1', /labels as zone=test/],
    ['__proto__=x', /labels as zone=test/],
  ];
  for (const [text, message] of wrong) t.throws(() => parseCanary(text), { message }, text);
});

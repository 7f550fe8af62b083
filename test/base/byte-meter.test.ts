import t from 'tap';
import { ByteMeter } from '../../src/base/byte-meter.ts';
import { dayMs, hourMs, minuteMs } from '../../src/base/clock.ts';

t.test('bytes are counted by purpose, in all and over the last hours', async t => {
  const meter = new ByteMeter<'audit' | 'state'>();
  meter.add('audit', 100, 5 * hourMs);
  meter.add('audit', 10, 10 * hourMs);
  meter.add('state', 1, 10 * hourMs);
  t.same(Object.fromEntries(meter.totals), { audit: 110, state: 1 });
  t.same(meter.over(dayMs, 10 * hourMs), { audit: 110, state: 1 });
  t.same(meter.over(hourMs, 10 * hourMs), { audit: 10, state: 1 });
  t.same(meter.over(hourMs, 11 * hourMs), {}, 'what was long ago is left out');
});

t.test('what is a day old is forgotten, however long nobody looked', async t => {
  const meter = new ByteMeter<'audit'>();
  meter.add('audit', 100, 0);
  t.same(meter.over(dayMs, dayMs - minuteMs), { audit: 100 });
  t.same(meter.over(dayMs, dayMs + 10 * minuteMs), {});
  meter.add('audit', 7, 40 * dayMs);
  t.same(meter.over(dayMs, 40 * dayMs), { audit: 7 });
  t.equal(meter.totals.get('audit'), 107);
});

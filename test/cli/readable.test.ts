import t from 'tap';
import { plain, printAge, printAhead, printDuration, printTime, shorten, visible } from '../../src/cli/readable.ts';

t.test('times are told in their largest fitting unit', async t => {
  const cases = { 0: '0ms', 999: '999ms', 45000: '45s', 119999: '119s', 180000: '3m', 7200000: '2h', 172800000: '2d' };
  for (const [ms, text] of Object.entries(cases)) t.equal(printDuration(Number(ms)), text);
  t.equal(printAge(1_000, 61_000), '60s');
  t.equal(printAge(5_000, 1_000), '0s', 'a clock that is ahead is no age below zero');
  t.equal(printAhead(61_000, 1_000), 'in 60s');
  t.equal(printAhead(1_000, 1_000), 'now');
  t.equal(printTime(Number.NaN), '-');
});

t.test('numbers and words stay short', async t => {
  t.equal(plain(0.1 + 0.2), '0.3');
  t.equal(plain(4), '4');
  t.equal(shorten('short', 5), 'short');
  t.equal(shorten('longer', 5), 'long…');
  t.equal(shorten('😀😀😀', 2), '😀…', 'no sign is cut in two');
});

t.test('signs that steer a terminal are shown', async t => {
  t.equal(visible('a\u001b[31m\u0007\r\nb\u200e'), 'a\\u001b[31m\\u0007\\u000d\\nb\\u200e');
  t.equal(visible('grün 漢字'), 'grün 漢字');
});

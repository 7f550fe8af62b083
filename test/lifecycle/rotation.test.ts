import t from 'tap';
import { rotationDueAt, shouldRotate } from '../../src/lifecycle/rotation.ts';

t.test('a certificate is renewed at two thirds of its life', async t => {
  t.notOk(shouldRotate(0, 90_000, 59_999, 0));
  t.ok(shouldRotate(0, 90_000, 60_000, 0));
  t.ok(shouldRotate(0, 90_000, 200_000, 0), 'an expired one too');
});

t.test('dice bring it forward by up to a tenth of that life', async t => {
  t.equal(rotationDueAt(0, 90_000, 0.5), 55_500);
  t.ok(rotationDueAt(0, 90_000, 0.999) > 51_000);
});

t.test('before a certificate begins, as on a board without a clock, nothing is renewed', async t => {
  t.notOk(shouldRotate(1_900_000_000_000, 1_900_086_400_000, 0, 0.9));
});

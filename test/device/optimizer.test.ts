import t from 'tap';
import { Optimizer } from '../../src/device/optimizer.ts';

t.test('many requests in a short time turn it on', async t => {
  let now = 0;
  const optimizer = new Optimizer(() => now);
  for (let i = 0; i < 1_000; i++) {
    now += 100;
    optimizer.countRequest();
  }
  t.notOk(optimizer.isOn, 'ten a second are not worth it');
  for (let i = 0; i < 512; i++) {
    now += 1;
    optimizer.countRequest();
  }
  t.ok(optimizer.isOn);
});

import t from 'tap';
import { seededRandom } from '../../src/base/random.ts';
import { pickLeastRequest, pickRoundRobin } from '../../src/traffic/balance.ts';

interface TestHost {
  weight: number;
  active: number;
  available: boolean;
}

const hosts = (count: number): TestHost[] =>
  Array.from({ length: count }, () => ({ weight: 1, active: 0, available: true }));

t.test('of two draws the less busy host is taken, so that 1000 requests on 10 hosts lie close together', async t => {
  const random = seededRandom(1);
  const list = hosts(10);
  for (let i = 0; i < 1000; i++) {
    const host = list[pickLeastRequest(list, true, random)];
    if (host !== undefined) host.active++;
  }
  const loads = list.map(host => host.active);
  t.ok(Math.max(...loads) - Math.min(...loads) <= 8, loads.join(' '));
});

t.test('a busy host gets far less than its share', async t => {
  const random = seededRandom(2);
  const list = hosts(3).map((host, i) => ({ ...host, active: i === 0 ? 10 : 0 }));
  let slow = 0;
  for (let i = 0; i < 3000; i++) if (pickLeastRequest(list, true, random) === 0) slow++;
  t.ok(slow < 1000 / 2, `${slow} of 3000`);
});

t.test('an unavailable host is never chosen, and none is when all are', async t => {
  const random = seededRandom(3);
  const list = hosts(5).map((host, i) => ({ ...host, available: i === 3 }));
  for (let i = 0; i < 100; i++) {
    t.equal(pickLeastRequest(list, true, random), 3);
    t.equal(pickRoundRobin(list, true, i, random), 3);
  }
  for (const equal of [true, false]) {
    const none = list.map(host => ({ ...host, available: false }));
    t.equal(pickLeastRequest(none, equal, random), -1);
    t.equal(pickRoundRobin(none, equal, 0, random), -1);
    t.equal(pickLeastRequest([], equal, random), -1);
    t.equal(pickRoundRobin([], equal, 0, random), -1);
  }
});

t.test('round robin goes through the hosts in turn', async t => {
  const list = hosts(3);
  const random = seededRandom(4);
  t.same(
    [0, 1, 2, 3, 4].map(turn => pickRoundRobin(list, true, turn, random)),
    [0, 1, 2, 0, 1],
  );
});

t.test('weights that differ are kept to', async t => {
  const random = seededRandom(5);
  const list = hosts(2).map((host, i) => ({ ...host, weight: i === 0 ? 1 : 3 }));
  const picked = [0, 0];
  for (let i = 0; i < 8000; i++) {
    const at = i % 2 === 0 ? pickLeastRequest(list, false, random) : pickRoundRobin(list, false, i, random);
    picked[at] = (picked[at] ?? 0) + 1;
  }
  const share = (picked[1] ?? 0) / 8000;
  t.ok(share > 0.73 && share < 0.77, String(share));
});

t.test('with weights a busy host counts for less', async t => {
  const random = seededRandom(6);
  const list = [
    { weight: 2, active: 9, available: true },
    { weight: 1, active: 0, available: true },
  ];
  let busy = 0;
  for (let i = 0; i < 6000; i++) if (pickLeastRequest(list, false, random) === 0) busy++;
  // effective weights are 0.2 and 1
  t.ok(busy > 900 && busy < 1100, String(busy));
});

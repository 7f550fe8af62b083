import t from 'tap';
import { makeShadowReport, shadowReportMs } from '../../src/agent/shadow-report.ts';
import type { ShadowCount } from '../../src/model/shadow-count.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

const count = (calls: number): ShadowCount => ({
  kind: 'AuthorizationPolicy',
  policy: 'default/dry',
  calls,
  allowed: 0,
  denied: 0,
  audited: 0,
});

t.test('what has changed is said, what has not once a minute, and nothing where there is nothing', async t => {
  const clock = new FakeClock();
  const said: object[] = [];
  let counts: ShadowCount[] = [];
  let up = true;
  const report = makeShadowReport({
    sender: { send: (_, body) => void said.push(body) },
    clock,
    isUp: () => up,
    counts: () => counts,
    revision: () => 7,
  });
  report.look();
  t.same(said, [], 'there is no such policy');
  counts = [count(1)];
  up = false;
  report.look();
  t.same(said, [], 'nobody hears');
  up = true;
  report.look();
  report.look();
  t.same(said, [{ revision: 7, counts: [count(1)] }]);
  counts = [count(2)];
  report.look();
  t.equal(said.length, 2);
  await clock.advance(shadowReportMs.again);
  report.look();
  t.equal(said.length, 3, 'for a master that was started again');
  counts = [];
  report.look();
  t.same(said.at(-1), { revision: 7, counts: [] }, 'the last one has gone');
  await clock.advance(shadowReportMs.again);
  report.look();
  t.equal(said.length, 4);
});

import t, { type Test } from 'tap';
import { makeTrialCounts } from '../../src/agent/trial.ts';
import type { AccessRecord } from '../../src/model/access.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

const minuteMs = 60_000;
const call = (more: Partial<AccessRecord> = {}): AccessRecord => ({
  at: 0,
  direction: 'inbound',
  source: '-',
  destination: '-',
  sourceIp: '10.0.0.1',
  task: '-',
  method: 'GET',
  host: '-',
  path: '/',
  verdict: 'allow',
  rule: '-',
  status: 200,
  bytesReceived: 0,
  bytesSent: 0,
  durationMs: 1,
  requestId: '-',
  flags: '-',
  ...more,
});
const denied = call({ verdict: 'deny', status: 403 });

function stage(t: Test) {
  const clock = new FakeClock();
  const told: unknown[] = [];
  const counts = makeTrialCounts({ clock, tell: () => told.push(counts.current()) });
  const ended = new AbortController();
  const run = counts.run(ended.signal);
  t.teardown(async () => {
    ended.abort();
    await run;
  });
  const record = (times: number, record: AccessRecord) => {
    for (let i = 0; i < times; i++) counts.record(record);
  };
  return { clock, counts, record, told };
}

t.test('what happened before a trial and since are told apart at the moment of the swap', async t => {
  const { counts, record } = stage(t);
  record(3, call());
  record(1, denied);
  record(2, call({ direction: 'outbound', status: 503 }));
  t.equal(counts.current(), undefined, 'nothing is tried');
  counts.enter('policy-1');
  record(4, denied);
  t.same(counts.current(), {
    rollout: 'policy-1',
    before: { decisions: 4, denied: 1, requests: 6, errors: 2 },
    since: { decisions: 4, denied: 4, requests: 4, errors: 0 },
  });
  counts.enter('policy-1');
  t.equal(counts.current()?.since.denied, 4, 'the same again, as with its next step, begins nothing anew');
});

t.test('before is a window of ten to twenty minutes', async t => {
  const { clock, counts, record } = stage(t);
  record(1, denied);
  await clock.advance(10 * minuteMs);
  record(2, call());
  await clock.advance(5 * minuteMs);
  counts.enter('policy-1');
  t.match(counts.current()?.before, { decisions: 3, denied: 1 });
  counts.enter(undefined);
  await clock.advance(6 * minuteMs);
  record(1, call());
  counts.enter('policy-2');
  t.match(counts.current()?.before, { decisions: 3, denied: 0 }, 'what is too long ago is forgotten');
  counts.enter(undefined);
  await clock.advance(60 * minuteMs);
  counts.enter('policy-3');
  t.match(counts.current()?.before, { decisions: 0 });
});

t.test('the harm of a trial is never taken for how it was before', async t => {
  const { counts, record } = stage(t);
  record(5, call());
  counts.enter('policy-1');
  record(9, denied);
  counts.enter('policy-2');
  t.match(counts.current(), { rollout: 'policy-2', before: { decisions: 5, denied: 0 }, since: { decisions: 0 } });
  record(9, denied);
  counts.enter(undefined);
  record(1, call());
  counts.enter('policy-3');
  t.match(counts.current()?.before, { decisions: 6, denied: 0 });
});

t.test('the master is told within two seconds, while there is something to tell', async t => {
  const { clock, counts, record, told } = stage(t);
  record(3, denied);
  await clock.advance(10_000);
  t.same(told, [], 'nothing is tried');
  counts.enter('policy-1');
  await clock.advance(2_000);
  t.match(told, [{ before: { denied: 3 }, since: { denied: 0 } }]);
  await clock.advance(10_000);
  t.equal(told.length, 1, 'nothing has changed');
  record(1, denied);
  await clock.advance(2_000);
  t.match(told.at(-1), { since: { denied: 1 } });
});

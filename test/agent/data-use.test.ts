import { PassThrough } from 'node:stream';
import t, { type Test } from 'tap';
import { openDataUse } from '../../src/agent/data-use.ts';
import { dayMs, hourMs, minuteMs } from '../../src/base/clock.ts';
import { slowestHeartbeatMs } from '../../src/lifecycle/cadence.ts';
import { topics } from '../../src/model/topics.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';

const normalMs = 10_000;

async function stage(t: Test, { isMetered = undefined as boolean | undefined, megabytes = 250 } = {}) {
  const clock = new FakeClock();
  const log = new CapturedLog();
  const network = { isMetered: false, told: 0 };
  const data = await openDataUse(
    { clock, log, readMetered: async () => network.isMetered, onChanged: () => network.told++ },
    { isMetered, normalMs: () => normalMs, meteredMbPerMonth: () => megabytes },
  );
  const ended = new AbortController();
  const run = data.run(ended.signal);
  t.teardown(async () => {
    ended.abort();
    await run;
  });
  const later = async (ms = 10 * minuteMs) => {
    for (let at = 0; at < ms; at += 10 * minuteMs) {
      await clock.untilSleeping();
      await clock.advance(10 * minuteMs);
    }
    await clock.untilSleeping();
  };
  const dial = () => data.dialling(async () => new PassThrough())(ended.signal);
  return { clock, log, network, data, later, dial };
}

t.test('what is said and heard is counted by what it is about, also what answers bring', async t => {
  const { data } = await stage(t);
  const counted = (topic: string | undefined, bytes: number) => data.count({ topic, bytes });
  counted(topics.up('pi-1', 'hb'), 300);
  counted(topics.down('pi-1', 'ack'), 20);
  counted(topics.up('pi-1', 'audit'), 1_000);
  counted(topics.up('pi-1', 'log'), 40);
  counted(topics.down('pi-1', 'task'), 500);
  counted(topics.policy, 7_000);
  counted(topics.service('web.default'), 70);
  counted(undefined, 2);
  const open = data.counting(async () => ({
    from: 0,
    total: 3,
    etag: undefined,
    answer: {
      status: 200,
      headers: {},
      async *body() {
        yield Buffer.from('abc');
      },
      close() {},
    },
  }));
  const { answer } = await open('mesolite:x', { bytes: 0, etag: undefined }, 0, new AbortController().signal);
  for await (const piece of answer.body()) t.equal(String(piece), 'abc');
  const { byPurpose, metered, budgetBytes } = data.spent();
  t.match(byPurpose, { telemetry: 320, audit: 1_000, output: 40, tasks: 500, policies: 7_070, link: 2 });
  t.ok((byPurpose.artifacts ?? 0) > 5_000, 'the handshake of a connection of its own');
  t.same([metered, budgetBytes], [false, undefined]);
  t.same(data.cadence.value, { heartbeatMs: normalMs, holdMs: 0 });
});

t.test('a node whose way becomes a metered one speaks less often, and as before when it is home again', async t => {
  const { data, network, dial } = await stage(t, { megabytes: 50 });
  network.isMetered = true;
  await dial();
  t.same(data.cadence.value, { heartbeatMs: 80_000, holdMs: 5 * minuteMs });
  t.match(data.spent(), { metered: true, budgetBytes: 1_666_667 });
  network.isMetered = false;
  await dial();
  t.same(data.cadence.value, { heartbeatMs: normalMs, holdMs: 0 });
});

t.test('whether the way is a metered one is known before the connection says how it is kept open', async t => {
  const { data, network } = await stage(t);
  network.isMetered = true;
  const seen: boolean[] = [];
  const failing = data.dialling(async () => {
    seen.push(data.isMetered);
    throw new Error('no way');
  });
  await t.rejects(failing(new AbortController().signal), { message: 'no way' });
  t.same(seen, [true]);
  t.equal(data.spent().dayBytes, 0, 'there was no handshake');
});

t.test('an operator knows better what is paid for', async t => {
  const { data, network, dial } = await stage(t, { isMetered: false });
  network.isMetered = true;
  await dial();
  t.equal(data.isMetered, false);
  t.equal((await stage(t, { isMetered: true })).data.isMetered, true);
});

t.test('over the budget a node says so, with what took it, and goes on as slowly as it can', async t => {
  const { data, network, later, log } = await stage(t, { isMetered: true, megabytes: 300 });
  t.equal(data.cadence.value.heartbeatMs, normalMs);
  data.count({ topic: topics.up('pi-1', 'audit'), bytes: 11e6 });
  await later();
  t.equal(network.told, 1);
  t.equal(data.cadence.value.heartbeatMs, slowestHeartbeatMs);
  t.match(data.warnings(), [
    /^11 MB went over a metered link .* mostly audit; 10 MB a day are meant: .*--audit-allowed/,
  ]);
  await later(hourMs);
  t.equal(network.told, 1, 'once');
  await later(dayMs);
  t.same([network.told, data.warnings(), data.cadence.value.heartbeatMs], [2, [], normalMs]);
  t.equal(log.all('the link to the master takes more data than it should').length, 1);
});

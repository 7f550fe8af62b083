import t from 'tap';
import { Counters, latencyBoundsMs, maxSeries } from '../../src/proxy/counters.ts';

t.test('requests are counted by status, each with its latencies', async t => {
  const counters = new Counters();
  const series = counters.series('inbound', 'web.default', 'client');
  series.count(200, 0.2, 10, 20);
  series.count(503, 1e9, 0, 5);
  series.count(200, 3, 0, 0);
  series.count(0, 1, 0, 0);
  const [snapshot] = counters.snapshot();
  t.match(snapshot, { bytesReceived: 10, bytesSent: 25 });
  t.same(
    snapshot?.byStatus.map(({ status, requests, latencySumMs }) => [status, requests, latencySumMs]),
    [
      [200, 2, 3.2],
      [503, 1, 1e9],
      [0, 1, 1],
    ],
  );
  const [ok, unavailable] = snapshot?.byStatus ?? [];
  t.equal(ok?.latency.length, latencyBoundsMs.length + 1);
  t.same(ok?.latency.slice(0, 5), [1, 0, 0, 1, 0], 'up to 0.5 ms, and up to 4 ms');
  t.equal(unavailable?.latency.at(-1), 1, 'longer than the last bound');
});

t.test('statuses beyond the bound are counted with their class', async t => {
  const counters = new Counters();
  const series = counters.series('inbound', 'web.default', 'client');
  for (let status = 100; status < 1000; status++) series.count(status, 1, 0, 0);
  const byStatus = counters.snapshot()[0]?.byStatus ?? [];
  t.equal(byStatus.length, 16 + 8);
  t.equal(
    byStatus.reduce((sum, { requests }) => sum + requests, 0),
    900,
  );
  t.equal(byStatus.find(({ status }) => status === 500)?.requests, 100);
});

t.test('pairs beyond the bound are counted together', async t => {
  const counters = new Counters();
  for (let i = 0; i < maxSeries + 100; i++)
    counters.series('inbound', 'web.default', `client-${i}`).count(200, 1, 0, 0);
  const snapshot = counters.snapshot();
  t.equal(snapshot.length, maxSeries + 1);
  t.match(snapshot.at(-1), { service: 'other', source: 'other', byStatus: [{ status: 200, requests: 100 }] });
});

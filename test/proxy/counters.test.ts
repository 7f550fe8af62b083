import t from 'tap';
import { Counters, latencyBoundsMs, maxSeries } from '../../src/proxy/counters.ts';

t.test('requests are counted by class of status and by latency', async t => {
  const counters = new Counters();
  const series = counters.series('inbound', 'web.default', 'client');
  series.count(200, 0.2, 10, 20);
  series.count(204, 3, 0, 0);
  series.count(503, 1e9, 0, 5);
  series.count(0, 1, 0, 0);
  const [snapshot] = counters.snapshot();
  t.match(snapshot, { byClass: [1, 0, 2, 0, 0, 1], bytesReceived: 10, bytesSent: 25 });
  t.equal(snapshot?.latency.length, latencyBoundsMs.length + 1);
  t.same(
    [0, 1, 2, 3, latencyBoundsMs.length].map(i => snapshot?.latency[i]),
    [1, 1, 0, 1, 1],
  );
});

t.test('pairs beyond the bound are counted together', async t => {
  const counters = new Counters();
  for (let i = 0; i < maxSeries + 100; i++)
    counters.series('inbound', 'web.default', `client-${i}`).count(200, 1, 0, 0);
  const snapshot = counters.snapshot();
  t.equal(snapshot.length, maxSeries + 1);
  t.match(snapshot.at(-1), { service: 'other', source: 'other', byClass: [0, 0, 100] });
});

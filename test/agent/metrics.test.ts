import { once } from 'node:events';
import { createServer } from 'node:net';
import t from 'tap';
import { metricsText } from '../../src/agent/metrics.ts';
import { startMetrics } from '../../src/agent/metrics-server.ts';
import { Counters } from '../../src/proxy/counters.ts';

t.test('what was counted is there in the words of Prometheus', async t => {
  const counters = new Counters();
  const series = counters.series('inbound', 'web.default', 'edge.local/ns/default/sa/"x"');
  series.count(200, 0.4, 1, 2);
  series.count(200, 3, 1, 2);
  series.count(503, 1e9, 0, 0);
  counters.countLimited('default/web', true);
  counters.countLimited('default/web', true);
  counters.countLimited('default/try', false);
  const text = metricsText(
    {
      inboundConnections: 3,
      outboundConnections: 2,
      upstreamConnections: 1,
      failedHandshakes: 4,
      refusedRequests: 5,
      series: counters.snapshot(),
      limits: counters.limitSnapshot(),
      shadows: [{ kind: 'AuthorizationPolicy', policy: 'default/dry', calls: 7, allowed: 0, denied: 3, audited: 0 }],
    },
    6,
    { disk: new Map([['audit', 8_192]]), link: new Map([['telemetry', 400]]) },
  );
  const of = 'direction="inbound",service="web.default",source="edge.local/ns/default/sa/\\"x\\""';
  const duration = 'mesolite_proxy_request_duration_seconds';
  for (const line of [
    '# TYPE mesolite_proxy_connections gauge',
    'mesolite_proxy_connections{side="inbound"} 3',
    'mesolite_proxy_handshakes_failed_total 4',
    'mesolite_proxy_refused_total 5',
    'mesolite_access_log_dropped_total 6',
    'mesolite_agent_link_bytes_total{purpose="telemetry"} 400',
    'mesolite_agent_written_bytes_total{purpose="audit"} 8192',
    'mesolite_proxy_rate_limited_total{limit="default/web",enforced="true"} 2',
    'mesolite_proxy_rate_limited_total{limit="default/try",enforced="false"} 1',
    'mesolite_policy_shadow_calls_total{kind="AuthorizationPolicy",policy="default/dry"} 7',
    'mesolite_policy_shadow_total{kind="AuthorizationPolicy",policy="default/dry",outcome="denied"} 3',
    `mesolite_proxy_received_bytes_total{${of}} 2`,
    `mesolite_proxy_sent_bytes_total{${of}} 4`,
    `${duration}_bucket{${of},code="200",le="0.0005"} 1`,
    `${duration}_bucket{${of},code="200",le="0.002"} 1`,
    `${duration}_bucket{${of},code="200",le="0.004"} 2`,
    `${duration}_bucket{${of},code="200",le="+Inf"} 2`,
    `${duration}_sum{${of},code="200"} 0.0034`,
    `${duration}_count{${of},code="200"} 2`,
    `${duration}_bucket{${of},code="503",le="65.536"} 0`,
    `${duration}_bucket{${of},code="503",le="+Inf"} 1`,
  ]) {
    t.ok(text.split('\n').includes(line), line);
  }
  t.ok(text.endsWith('\n'));
});

t.test('Prometheus asks for them over HTTP, until the agent ends', async t => {
  const stop = new AbortController();
  const { port, ended } = await startMetrics(() => 'a 1\n', { host: '127.0.0.1', port: 0 }, stop.signal);
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
  t.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  t.equal(await answer.text(), 'a 1\n');
  t.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 404);
  stop.abort();
  await ended;
  await t.rejects(fetch(`http://127.0.0.1:${port}/metrics`));
});

t.test('a port that is taken is a clear error', async t => {
  const other = createServer().listen(0, '127.0.0.1');
  t.teardown(() => other.close());
  await once(other, 'listening');
  const address = other.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await t.rejects(
    startMetrics(() => '', { host: '127.0.0.1', port }, new AbortController().signal),
    {
      code: 'START_FAILED',
      message: /^the metrics cannot be served on 127\.0\.0\.1, port \d+: /,
    },
  );
});

import type { ShadowCount } from '../model/shadow-count.ts';
import { latencyBoundsMs, type SeriesSnapshot, type StatusSnapshot } from '../proxy/counters.ts';
import type { ProxySnapshot } from '../proxy/node-proxy.ts';

// Written out here: prom-client, which the master uses, takes 12 MB of a small board's memory for these few lines.

export const metricsContentType = 'text/plain; version=0.0.4; charset=utf-8';

/** What the agent spends, in bytes since its start, by purpose. */
export interface SpentTotals {
  readonly disk: ReadonlyMap<string, number>;
  readonly link: ReadonlyMap<string, number>;
}

/** What a node's proxy and its agent have counted since the agent's start, in Prometheus' text format. */
export function metricsText(proxy: ProxySnapshot, accessLogDropped: number, spent: SpentTotals): string {
  const gauges = [
    ['inbound', proxy.inboundConnections],
    ['outbound', proxy.outboundConnections],
    ['upstream', proxy.upstreamConnections],
  ] as const;
  return [
    ...family('mesolite_proxy_connections', 'gauge', 'Open connections by side'),
    ...gauges.map(([side, value]) => `mesolite_proxy_connections{side="${side}"} ${value}`),
    ...counter('mesolite_proxy_handshakes_failed_total', 'TLS handshakes that failed', proxy.failedHandshakes),
    ...counter('mesolite_proxy_refused_total', 'Bytes that were no request', proxy.refusedRequests),
    ...counter('mesolite_access_log_dropped_total', 'Lines that the access log had no room for', accessLogDropped),
    ...family('mesolite_agent_written_bytes_total', 'counter', 'What the agent has written to the disk, by purpose'),
    ...[...spent.disk].map(([purpose, bytes]) => `mesolite_agent_written_bytes_total{purpose="${purpose}"} ${bytes}`),
    ...family('mesolite_agent_link_bytes_total', 'counter', 'What agent and master have exchanged, by purpose'),
    ...[...spent.link].map(([purpose, bytes]) => `mesolite_agent_link_bytes_total{purpose="${purpose}"} ${bytes}`),
    ...family(
      'mesolite_proxy_rate_limited_total',
      'counter',
      'Requests over a RateLimit; enforced: were they refused?',
    ),
    ...proxy.limits.map(
      ({ name, enforced, requests }) =>
        `mesolite_proxy_rate_limited_total{limit="${escaped(name)}",enforced="${enforced}"} ${requests}`,
    ),
    ...family(
      'mesolite_policy_shadow_calls_total',
      'counter',
      'Calls that a policy which decides nothing was asked about',
    ),
    ...proxy.shadows.map(each => `mesolite_policy_shadow_calls_total{${policyLabels(each)}} ${each.calls}`),
    ...family('mesolite_policy_shadow_total', 'counter', 'Calls that such a policy would have decided otherwise'),
    ...proxy.shadows.flatMap(each =>
      (['allowed', 'denied', 'audited'] as const).map(
        outcome => `mesolite_policy_shadow_total{${policyLabels(each)},outcome="${outcome}"} ${each[outcome]}`,
      ),
    ),
    ...family('mesolite_proxy_received_bytes_total', 'counter', 'Bodies of requests'),
    ...proxy.series.map(each => `mesolite_proxy_received_bytes_total{${labels(each)}} ${each.bytesReceived}`),
    ...family('mesolite_proxy_sent_bytes_total', 'counter', 'Bodies of responses'),
    ...proxy.series.map(each => `mesolite_proxy_sent_bytes_total{${labels(each)}} ${each.bytesSent}`),
    ...family(
      'mesolite_proxy_request_duration_seconds',
      'histogram',
      'Requests by service, source and status; 0: no answer',
    ),
    ...proxy.series.flatMap(each => each.byStatus.flatMap(status => histogram(labels(each), status))),
    '',
  ].join('\n');
}

function histogram(of: string, { status, requests, latency, latencySumMs }: StatusSnapshot): string[] {
  const name = 'mesolite_proxy_request_duration_seconds';
  const common = `${of},code="${status}"`;
  let below = 0;
  const buckets = latencyBoundsMs.map((bound, i) => {
    below += latency[i] ?? 0;
    return `${name}_bucket{${common},le="${bound / 1000}"} ${below}`;
  });
  return [
    ...buckets,
    `${name}_bucket{${common},le="+Inf"} ${requests}`,
    `${name}_sum{${common}} ${latencySumMs / 1000}`,
    `${name}_count{${common}} ${requests}`,
  ];
}

function labels({ direction, service, source }: SeriesSnapshot): string {
  return `direction="${direction}",service="${escaped(service)}",source="${escaped(source)}"`;
}

function policyLabels({ kind, policy }: ShadowCount): string {
  return `kind="${kind}",policy="${escaped(policy)}"`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function counter(name: string, help: string, value: number): string[] {
  return [...family(name, 'counter', help), `${name} ${value}`];
}

function family(name: string, type: string, help: string): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
}

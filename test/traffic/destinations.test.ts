import t from 'tap';
import { minuteMs, secondMs } from '../../src/base/clock.ts';
import type { DestinationRule } from '../../src/model/document.ts';
import { defaultCluster } from '../../src/traffic/cluster.ts';
import { compileDestinations, noDestinations } from '../../src/traffic/destinations.ts';
import { destinationsOf, ruleOf } from '../fixtures/destination-rules.ts';

const web = { name: 'web', namespace: 'shop' };
const root = 'mesolite-system';
const settings = (spec: object, subset = '') =>
  destinationsOf('web.shop.mesh', spec).settingsFor(web, 'default', subset);

/** A rule that is told apart by its connect timeout. */
function rule(host: string, namespace: string, timeout: number, more: object = {}): DestinationRule {
  const trafficPolicy = { connectionPool: { tcp: { connectTimeout: `${timeout}ms` } } };
  return ruleOf({ host, trafficPolicy, ...more }, { name: `rule-${timeout}`, namespace });
}

function timeoutIn(rules: readonly DestinationRule[], caller: string): number | undefined {
  return compileDestinations(rules, root).settingsFor(web, caller, '')?.connections.connectTimeoutMs;
}

t.test('without a rule the defaults hold, and there are no subsets', async t => {
  t.equal(noDestinations.settingsFor(web, 'default', ''), defaultCluster);
  t.equal(noDestinations.settingsFor(web, 'default', 'v1'), undefined);
  t.same(settings({}), defaultCluster);
});

t.test("the callers' namespace goes before the service's, and that before the root namespace", async t => {
  const rules = [rule('*', root, 1), rule('web', 'shop', 2), rule('web.shop.svc.cluster.local', 'default', 3)];
  t.equal(timeoutIn(rules, 'default'), 3);
  t.equal(timeoutIn(rules, 'other'), 2);
  t.equal(timeoutIn(rules, 'shop'), 2);
  t.equal(timeoutIn(rules.slice(0, 1), 'other'), 1);
  t.equal(timeoutIn(rules, root), 2);
});

t.test('in one namespace the more specific host wins', async t => {
  const rules = [rule('*', 'default', 1), rule('*.shop.mesh', 'default', 2), rule('web.shop.mesh', 'default', 3)];
  t.equal(timeoutIn(rules, 'default'), 3);
  t.equal(timeoutIn(rules.slice(0, 2), 'default'), 2);
  t.equal(timeoutIn(rules.slice(0, 1), 'default'), 1);
});

t.test('a rule that is not exported holds for callers of its own namespace alone', async t => {
  const own = { exportTo: ['.'] };
  const rules = [rule('web', 'shop', 2, own), rule('*', root, 1, own)];
  t.equal(timeoutIn(rules, 'shop'), 2);
  t.equal(timeoutIn(rules, 'default'), defaultCluster.connections.connectTimeoutMs);
  t.equal(timeoutIn(rules, root), 1);
});

t.test('rules for one host in one namespace are one: subsets join, the first policy counts', async t => {
  const both = compileDestinations(
    [
      ruleOf({ host: 'web', subsets: [{ name: 'v1', labels: { version: '1' } }] }, { name: 'a', namespace: 'shop' }),
      rule('web.shop.mesh', 'shop', 2, {
        subsets: [
          { name: 'v1', labels: { version: 'other' } },
          { name: 'v2', labels: { version: '2' } },
        ],
      }),
    ],
    root,
  );
  t.equal(both.settingsFor(web, 'shop', '')?.connections.connectTimeoutMs, 2);
  t.same(both.settingsFor(web, 'shop', 'v1')?.labels, { version: '1' });
  t.same(both.settingsFor(web, 'shop', 'v2')?.labels, { version: '2' });
});

t.test("a subset's policy replaces the rule's field by field", async t => {
  const spec = {
    trafficPolicy: {
      loadBalancer: { simple: 'RANDOM' },
      outlierDetection: { interval: '1s', consecutive5xxErrors: 7 },
    },
    subsets: [{ name: 'v1', trafficPolicy: { outlierDetection: { baseEjectionTime: '1m' } } }],
  };
  t.same(settings(spec, 'v1')?.balancing, { kind: 'RANDOM' });
  t.match(settings(spec, 'v1')?.outlier, { intervalMs: 10 * secondMs, consecutive5xx: 5, baseEjectionMs: minuteMs });
  t.match(settings(spec)?.outlier, { intervalMs: secondMs, consecutive5xx: 7 });
  t.equal(settings(spec, 'v9'), undefined);
});

t.test('balancing is as it is written', async t => {
  const balancing = (loadBalancer: object) => settings({ trafficPolicy: { loadBalancer } });
  t.same(balancing({ simple: 'LEAST_CONN' })?.balancing, { kind: 'LEAST_REQUEST' });
  t.same(balancing({ simple: 'UNSPECIFIED' })?.balancing, { kind: 'LEAST_REQUEST' });
  t.same(balancing({ simple: 'ROUND_ROBIN', warmup: { duration: '1m30s', aggression: 2 } })?.balancing, {
    kind: 'ROUND_ROBIN',
    slowStart: { windowMs: 90 * secondMs, minPercent: 10, aggression: 2 },
  });
  t.match(balancing({ consistentHash: { httpHeaderName: 'X-User' } }), {
    balancing: { kind: 'RING_HASH', minimumSize: 1024 },
    hashKey: { from: 'header', name: 'x-user' },
  });
  t.match(balancing({ consistentHash: { httpCookie: { name: 'user', ttl: '1h' }, maglev: {} } }), {
    balancing: { kind: 'MAGLEV', tableSize: 65_537 },
    hashKey: { from: 'cookie', name: 'user', path: '', ttlSeconds: 3600 },
  });
  t.same(balancing({ consistentHash: { useSourceIp: true } })?.hashKey, { from: 'source' });
});

t.test('a retry budget replaces the number of retries', async t => {
  const http = { maxRetries: 7 };
  t.equal(settings({ trafficPolicy: { connectionPool: { http } } })?.breaker.retries, 7);
  t.same(settings({ trafficPolicy: { connectionPool: { http }, retryBudget: { percent: 50 } } })?.breaker.retries, {
    percent: 50,
    minConcurrency: 3,
  });
  t.same(settings({})?.breaker.retries, { percent: 20, minConcurrency: 3 });
});

t.test('a bound of 0 is none, and no connection rests longer than the other side keeps it', async t => {
  const connectionPool = {
    tcp: { maxConnections: 0, maxConnectionDuration: '1m', idleTimeout: '2h', tcpKeepalive: { time: '30s' } },
    http: { http2MaxRequests: 0, maxRequestsPerConnection: 0, idleTimeout: '1h', maxConcurrentStreams: 8 },
  };
  const cluster = settings({ trafficPolicy: { connectionPool } });
  t.same([cluster?.breaker.maxConnections, cluster?.breaker.maxRequests], [Infinity, Infinity]);
  t.same(cluster?.connections, {
    connectTimeoutMs: 5 * secondMs,
    idleMs: 50 * secondMs,
    maxAgeMs: minuteMs,
    maxRequests: Infinity,
    keepaliveMs: 30 * secondMs,
    multiplexed: true,
    maxStreams: 8,
    tunnelIdleMs: 120 * minuteMs,
  });
});

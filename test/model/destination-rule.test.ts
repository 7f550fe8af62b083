import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseAllDocuments } from 'yaml';
import { decodeDocument } from '../../src/model/document.ts';
import { checkDestinationRule } from '../../src/traffic/destinations.ts';
import { ruleOf } from '../fixtures/destination-rules.ts';
import { corpusMissing } from '../fixtures/istio-corpus.ts';

t.test("Istio's own examples are taken as they are", { skip: corpusMissing }, async t => {
  for (const name of ['all-mtls', 'reviews']) {
    const text = readFileSync(join('..', 'shared/corpus/istio/bookinfo', `destination-rule-${name}.yaml`), 'utf8');
    const documents = parseAllDocuments(text).map(document => document.toJSON());
    for (const sent of documents.filter(document => document !== null)) {
      const rule = decodeDocument(sent, name);
      if (rule.kind !== 'DestinationRule') throw new Error(rule.kind);
      t.same(checkDestinationRule(rule), { errors: [], warnings: [] });
      t.ok(rule.spec.subsets.length > 0);
    }
  }
});

t.test('what does not work is refused with its place and with what to do', async t => {
  const policy = (trafficPolicy: object) => ({ host: 'web', trafficPolicy });
  const balancer = (loadBalancer: object) => policy({ loadBalancer });
  const refused: [object, string][] = [
    [{}, 'rule: spec.host: required, but missing'],
    [{ host: 'web', hosts: [] }, 'rule: spec.hosts: unknown field'],
    [policy({ tunnel: {} }), 'rule: spec.trafficPolicy.tunnel: not supported: calls go from node to node'],
    [
      policy({ portLevelSettings: [] }),
      'rule: spec.trafficPolicy.portLevelSettings: not supported: a service has one port: say it in trafficPolicy itself',
    ],
    [
      policy({ tls: { mode: 'DISABLE' } }),
      'rule: spec.trafficPolicy.tls.mode: expected ISTIO_MUTUAL, got "DISABLE": calls between nodes are always mutual TLS',
    ],
    [
      balancer({ simple: 'PASSTHROUGH' }),
      'rule: spec.trafficPolicy.loadBalancer.simple: not supported: calls go to the endpoints of a service; leave it out for LEAST_REQUEST',
    ],
    [
      balancer({ localityLbSetting: { enabled: true } }),
      'rule: spec.trafficPolicy.loadBalancer.localityLbSetting: not supported: endpoints have no locality; tell them apart by labels and subsets',
    ],
    [
      balancer({ simple: 'RANDOM', consistentHash: { useSourceIp: true } }),
      'rule: spec.trafficPolicy.loadBalancer: expected simple or consistentHash, not both',
    ],
    [
      balancer({ simple: 'RANDOM', warmup: { duration: '30s' } }),
      'rule: spec.trafficPolicy.loadBalancer: warmup works with ROUND_ROBIN and LEAST_REQUEST alone',
    ],
    [
      balancer({ consistentHash: { useSourceIp: false } }),
      'rule: spec.trafficPolicy.loadBalancer.consistentHash: expected exactly one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName',
    ],
    [
      balancer({ consistentHash: { useSourceIp: true, maglev: { tableSize: 65_536 } } }),
      'rule: spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: expected a prime number',
    ],
    [
      policy({ outlierDetection: { consecutiveErrors: 3 } }),
      'rule: spec.trafficPolicy.outlierDetection.consecutiveErrors: not supported: write consecutive5xxErrors or consecutiveGatewayErrors',
    ],
    [
      policy({ outlierDetection: { interval: '0s' } }),
      'rule: spec.trafficPolicy.outlierDetection.interval: expected at least 1ms',
    ],
    [
      policy({ connectionPool: { tcp: { tcpKeepalive: { probes: 3 } } } }),
      'rule: spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.probes: not supported: it is 10; give time alone',
    ],
    [
      { host: 'web', exportTo: ['shop'] },
      'rule: spec.exportTo[0]: expected "." (this namespace) or "*" (all), got "shop": write a rule for each namespace',
    ],
    [{ host: 'web', subsets: [{ name: 'v1' }, { name: 'v1' }] }, 'rule: spec.subsets: two subsets have one name'],
  ];
  for (const [spec, message] of refused) t.throws(() => ruleOf(spec), { code: 'INVALID_INPUT', message });
});

t.test('a host is a service or all of a namespace', async t => {
  for (const host of ['web', 'web.shop.mesh', 'web.shop.svc.cluster.local', '*.shop.mesh', '*.mesh', '*.local', '*']) {
    t.same(checkDestinationRule(ruleOf({ host })).errors, [], host);
  }
  for (const host of ['web.shop', 'example.com', '*.com', 'w*', '*web', 'http://web']) {
    t.match(checkDestinationRule(ruleOf({ host })).errors, [/^spec\.host: expected a service as reviews, /], host);
  }
});

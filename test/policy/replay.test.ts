import fc from 'fast-check';
import t from 'tap';
import { decodeDocument, type PolicyOf } from '../../src/model/document.ts';
import type { MeshDefault } from '../../src/model/policy.ts';
import { makeReplay, type RecordedCall } from '../../src/policy/replay.ts';
import { policyOf } from '../fixtures/istio-corpus.ts';
import { decide, mesh, requests, workload } from '../fixtures/policy-properties.ts';
import { anyPolicies } from '../fixtures/random-policies.ts';

const replayOf = (policies: Parameters<typeof makeReplay>[0]['policies'], meshDefault: MeshDefault = 'allow') =>
  makeReplay({ ...mesh, meshDefault, policies, peerAuthentications: [] });

t.test('what it says of a record is what was decided of the call, whatever the record does not tell', async t => {
  let unknown = 0;
  let told = 0;
  fc.assert(
    fc.property(
      anyPolicies,
      requests,
      fc.constantFrom<MeshDefault>('allow', 'deny'),
      (policies, asked, meshDefault) => {
        const replay = replayOf(policies, meshDefault);
        for (const request of asked) {
          const { protocol, principal, sourceIp, method, host, path } = request;
          const { verdict, rule, open } = replay.ask(workload, { protocol, principal, sourceIp, method, host, path });
          if (verdict === 'unknown') {
            unknown++;
            if (open.length === 0) throw new Error('it does not say why');
            continue;
          }
          told++;
          const decided = decide(policies, request, meshDefault);
          if (decided.allow !== (verdict === 'allow')) throw new Error(`${verdict} by ${rule}, but ${decided.reason}`);
        }
      },
    ),
    { seed: 8, numRuns: 1000 },
  );
  t.ok(unknown > 30 && told > 1000, `${told} told, ${unknown} unknown`);
});

const call: RecordedCall = {
  protocol: 'http',
  principal: 'td/ns/a/sa/b',
  sourceIp: '10.0.0.1',
  method: 'GET',
  path: '/a',
};
const policy = (action: string, ...rules: object[]) =>
  policyOf({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'p', namespace: 'shop' },
    spec: { action, rules },
  });
const when = { when: [{ key: 'request.headers[x-role]', values: ['admin'] }] };

t.test('what hangs on a header is unknown, where the header can make a difference', async t => {
  const ask = (...policies: ReturnType<typeof policy>[]) => replayOf(policies).ask(workload, call);
  t.same(ask(policy('DENY', when)), { verdict: 'unknown', rule: '', open: ['shop/p#0: request.headers[x-role]'] });
  t.match(ask(policy('DENY', when, {})), { verdict: 'deny', rule: 'shop/p#1' });
  t.match(ask(policy('ALLOW', when, {})), { verdict: 'allow', rule: 'shop/p#1' });
  t.match(ask(policy('ALLOW', { ...when, to: [{ operation: { paths: ['/b'] } }] })), { verdict: 'deny' });
  t.match(ask(policy('DENY', when), policy('ALLOW')), { verdict: 'deny', rule: 'no-allow-matched' });
});

t.test('a caller without a certificate is judged by PeerAuthentication, as far as a record goes', async t => {
  const peer = (spec: object) =>
    decodeDocument(
      {
        apiVersion: 'security.istio.io/v1',
        kind: 'PeerAuthentication',
        metadata: { name: 's', namespace: 'shop' },
        spec,
      },
      'test',
    ) as PolicyOf<'PeerAuthentication'>;
  const ask = (spec: object) =>
    makeReplay({ ...mesh, meshDefault: 'allow', policies: [], peerAuthentications: [peer(spec)] }).ask(workload, {
      ...call,
      principal: undefined,
    });
  t.match(ask({ mtls: { mode: 'STRICT' } }), { verdict: 'deny', rule: 'mtls-required' });
  t.match(ask({ mtls: { mode: 'PERMISSIVE' } }), { verdict: 'allow' });
  const byPort = { selector: { matchLabels: { app: 'web' } }, portLevelMtls: { 80: { mode: 'STRICT' } } };
  t.match(ask(byPort), { verdict: 'unknown', open: ['PeerAuthentication shop/s: its ports'] });
});

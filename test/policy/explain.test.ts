import fc from 'fast-check';
import t from 'tap';
import type { AuthorizationPolicy, PolicyOf } from '../../src/model/document.ts';
import { decodeDocument } from '../../src/model/document.ts';
import type { AuthorizationRequest } from '../../src/model/policy.ts';
import type { Question } from '../../src/model/policy-case.ts';
import { authorize } from '../../src/policy/authorize.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { type Explanation, explain } from '../../src/policy/explain.ts';
import { policyOf } from '../fixtures/istio-corpus.ts';
import { mesh, workload } from '../fixtures/policy-properties.ts';
import { anyPolicies, request } from '../fixtures/random-policies.ts';

/** The same call in the words of an operator. */
function questionOf(asked: AuthorizationRequest): Question {
  const { principal, sourceIp, remoteIp, destinationIp, destinationPort, serverName, method, host, path } = asked;
  const header = asked.header?.('x-a');
  return {
    from: { principal, ip: sourceIp, remoteIp },
    to: { ...workload, labels: { ...workload.labels }, ip: destinationIp, port: destinationPort, sni: serverName },
    request: {
      protocol: asked.protocol,
      ...(asked.protocol === 'http' && {
        method,
        host,
        path,
        headers: header === undefined ? {} : { 'X-A': header },
        claims: { ...asked.claims },
      }),
    },
  };
}

function tokensOf(...jwtRules: readonly object[]): PolicyOf<'RequestAuthentication'> {
  const head = { apiVersion: 'security.istio.io/v1', kind: 'RequestAuthentication' };
  const rules = jwtRules.map(rule => ({ jwksUri: 'https://keys.example/', ...rule }));
  const document = decodeDocument(
    { ...head, metadata: { name: 'jwt', namespace: 'shop' }, spec: { jwtRules: rules } },
    'x',
  );
  if (document.kind !== 'RequestAuthentication') throw new Error('another kind');
  return document;
}

/** The tokens of the calls are taken, and nobody need show a certificate. */
const authentications = { peerAuthentications: [], requestAuthentications: [tokensOf({ issuer: 'issuer' })] };

/** What follows from what is said of each rule, by Istio's order alone. */
function verdictOf({ policies }: Explanation, fallback: 'allow' | 'deny'): string {
  const inForce = policies.filter(({ notFor, dryRun }) => notFor === undefined && !dryRun);
  const first = (action: string) => {
    for (const { policy, rules, action: own } of inForce) {
      const found = own === action ? rules.find(({ matches }) => matches) : undefined;
      if (found !== undefined) return `${policy}#${found.rule}`;
    }
    return undefined;
  };
  const denied = first('DENY');
  if (denied !== undefined) return `deny ${denied}`;
  if (!inForce.some(({ action }) => action === 'ALLOW'))
    return fallback === 'allow' ? 'allow no-policy' : 'deny mesh-default';
  const allowed = first('ALLOW');
  return allowed === undefined ? 'deny no-allow-matched' : `allow ${allowed}`;
}

t.test('what is said of each rule leads to what the engine decides, whatever the policies', async () => {
  fc.assert(
    fc.property(
      anyPolicies,
      request,
      fc.constantFrom('allow' as const, 'deny' as const),
      (policies, asked, fallback) => {
        const input = { ...mesh, meshDefault: fallback, policies };
        const answer = explain({ ...input, ...authentications }, questionOf(asked));
        const verdict = authorize(compilePolicy(input).forWorkload(workload), asked);
        if (answer.verdict !== (verdict.allow ? 'allow' : 'deny')) throw new Error(`it says ${answer.verdict}`);
        const said = `${answer.verdict} ${answer.rule}`;
        if (said !== verdictOf(answer, fallback)) throw new Error(`${said}, but ${verdictOf(answer, fallback)}`);
        for (const { rules } of answer.policies) {
          for (const { matches, why } of rules) if (matches === why.length > 0) throw new Error(`why: ${why.join()}`);
        }
      },
    ),
    { seed: 5, numRuns: 1000 },
  );
});

function policy(spec: object, metadata: object = {}): AuthorizationPolicy {
  return policyOf({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'p', namespace: 'shop', ...metadata },
    spec,
  });
}

const call: Question = {
  from: { principal: 'td/ns/shop/sa/cart', ip: '10.0.0.1' },
  to: { namespace: 'shop', labels: { app: 'web' }, port: 80 },
  request: { protocol: 'http', method: 'GET', path: '/info', headers: { 'x-a': '1' } },
};

function ask(policies: readonly AuthorizationPolicy[], question: Partial<Question> = {}): Explanation {
  return explain({ ...mesh, meshDefault: 'allow', policies, ...authentications }, { ...call, ...question });
}

t.test('the first condition that fails is named, with what it wants and what there is', async t => {
  const why = (rule: object, question: Partial<Question> = {}) =>
    ask([policy({ rules: [rule] })], question).policies[0]?.rules[0]?.why;
  const to = (operation: object) => ({ to: [{ operation }] });
  const from = (source: object) => ({ from: [{ source }] });
  t.same(why(to({ methods: ['GET'], paths: ['/admin/*'] })), ['paths: /admin/* does not match /info']);
  t.same(why(to({ paths: ['/a', '/b'] })), ['paths: /a, /b do not match /info']);
  t.same(why(to({ notPaths: ['/in*'] })), ['notPaths: /in* matches /info']);
  t.same(why(to({ ports: ['443'] })), ['ports: 443 does not match 80']);
  t.same(why(to({ hosts: ['web'] })), ['hosts: host is not there']);
  t.same(why(from({ principals: ['td/ns/a/sa/b'] })), ['principals: td/ns/a/sa/b does not match td/ns/shop/sa/cart']);
  t.same(why(from({ principals: ['*'] }), { from: {} }), ['principals: the caller has no certificate']);
  t.same(why(from({ ipBlocks: ['10.1.0.0/16'] })), ['ipBlocks: 10.1.0.0/16 does not match 10.0.0.1']);
  t.same(why(from({ requestPrincipals: ['*'] })), ['requestPrincipals: no verified token says it']);
  t.same(why({ when: [{ key: 'request.headers[x-b]', values: ['1'] }] }), [
    'request.headers[x-b]: the request has no such header',
  ]);
  t.same(why({ when: [{ key: 'request.headers[x-a]', notValues: ['1'] }] }), [
    'request.headers[x-a] (not): 1 matches 1',
  ]);
  const either = { to: [{ operation: { methods: ['PUT'] } }, { operation: { paths: ['/x'] } }] };
  t.same(why(either), ['to[0] methods: PUT does not match GET', 'to[1] paths: /x does not match /info']);
  t.same(why(to({ methods: ['GET'] }), { request: { protocol: 'tcp' } }), [
    'methods: a TCP connection has none, and without it an ALLOW rule never matches',
  ]);
});

t.test('a policy that is not for the workload says so', async t => {
  const notFor = (each: AuthorizationPolicy) => ask([each]).policies[0]?.notFor;
  t.equal(notFor(policy({}, { namespace: 'bank' })), 'it is for namespace bank, the workload is in shop');
  const selecting = (labels: object) => policy({ selector: { matchLabels: labels } });
  t.equal(notFor(selecting({ app: 'cart' })), 'it selects app=cart, the workload has web');
  t.equal(notFor(selecting({ tier: 'x' })), 'it selects tier=x, the workload has no such label');
  t.equal(notFor(policy({})), undefined);
});

t.test('the verdict is told in a sentence', async t => {
  const says = (...policies: AuthorizationPolicy[]) => ask(policies).because;
  t.equal(says(policy({ action: 'DENY', rules: [{}] })), 'rule 0 of the DENY policy shop/p matches');
  t.equal(says(policy({ rules: [{}] })), 'rule 0 of the ALLOW policy shop/p matches');
  t.equal(says(policy({})), 'ALLOW policies select the workload (shop/p), and no rule of theirs matches');
  t.equal(says(), 'no ALLOW policy selects the workload, and the mesh allows what no policy speaks of');
  t.match(ask([], { request: { protocol: 'http', path: '/%00' } }), { verdict: 'deny', because: /no normal form/ });
});

t.test('a policy in dry run is told beside the verdict, and decides nothing', async t => {
  const dry = policy({ action: 'DENY', rules: [{}] }, { annotations: { 'istio.io/dry-run': 'true' } });
  t.match(ask([dry]), { verdict: 'allow', dryRun: { got: 'deny', rule: 'shop/p#0' }, policies: [{ dryRun: true }] });
});

t.test('a caller without a certificate is refused where a PeerAuthentication is STRICT', async t => {
  const strict = decodeDocument(
    {
      apiVersion: 'security.istio.io/v1',
      kind: 'PeerAuthentication',
      metadata: { name: 's', namespace: 'shop' },
      spec: { mtls: { mode: 'STRICT' } },
    },
    'test',
  ) as PolicyOf<'PeerAuthentication'>;
  const answer = explain(
    { ...mesh, meshDefault: 'allow', policies: [], ...authentications, peerAuthentications: [strict] },
    { ...call, from: {} },
  );
  t.match(answer, { verdict: 'deny', rule: 'mtls-required', mtls: 'STRICT', plaintext: true });
});

t.test('claims count where a RequestAuthentication takes the token, and decide whether it does', t => {
  const asks = (claims: object | undefined, ...requestAuthentications: PolicyOf<'RequestAuthentication'>[]) => {
    const policies = [policy({ rules: [{ from: [{ source: { requestPrincipals: ['a/*', 'b/*'] } }] }] })];
    const question = { ...call, request: { ...call.request, ...(claims && { claims: { ...claims } }) } };
    const input = { ...mesh, meshDefault: 'allow' as const, policies, peerAuthentications: [] };
    return explain({ ...input, requestAuthentications }, question);
  };
  const two = tokensOf({ issuer: 'a', audiences: ['shop', 'bank'] }, { issuer: 'b', spaceDelimitedClaims: ['groups'] });
  t.match(asks({ sub: 'x' }), { rule: 'no-allow-matched', token: { issuers: [], claims: undefined } }, 'none is read');
  t.match(asks(undefined, two), { rule: 'no-allow-matched', token: { issuers: ['a', 'b'], claims: undefined } });
  t.match(asks({ sub: 'x' }, two), { rule: 'shop/p#0', token: { claims: { iss: 'a', aud: 'shop', sub: 'x' } } });
  t.match(asks({ iss: 'a', aud: ['x', 'bank'], sub: 'x' }, two), { verdict: 'allow' });
  t.match(asks({ iss: 'b', aud: 'any', sub: 'x', groups: 'g h' }, two), { token: { claims: { groups: ['g', 'h'] } } });
  t.match(asks({ iss: 'c', sub: 'x' }, two), { verdict: 'deny', rule: 'token-issuer', because: /401/ });
  t.match(asks({ iss: 'a', aud: 'x', sub: 'x' }, two), { verdict: 'deny', rule: 'token-audience', because: /403/ });
  t.end();
});

import t from 'tap';
import { checkPolicy } from '../../src/policy/check.ts';
import { policyOf } from '../fixtures/istio-corpus.ts';

function check(spec: object, facts: { servesTcp?: boolean } = {}, annotations: Record<string, string> = {}) {
  return checkPolicy(
    policyOf({
      apiVersion: 'security.istio.io/v1beta1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'p', annotations },
      spec,
    }),
    facts,
  );
}
const from = (source: object) => ({ rules: [{ from: [{ source }] }] });
const to = (operation: object) => ({ rules: [{ to: [{ operation }] }] });
const when = (key: string, value = 'x') => ({ rules: [{ when: [{ key, values: [value] }] }] });

t.test('a sound policy has neither errors nor warnings', async t => {
  const spec = {
    action: 'ALLOW',
    rules: [
      {
        from: [{ source: { principals: ['cluster.local/ns/a/sa/b', '*/sa/c'], notNamespaces: ['x*y'] } }],
        to: [
          { operation: { paths: ['/a*', '/b/{*}/c/{**}'], methods: ['GET'], hosts: ['*.example'], ports: ['8080'] } },
        ],
        when: [{ key: 'request.headers[x-a]', values: ['1*'] }],
      },
    ],
  };
  t.same(check(spec), { errors: [], warnings: [] });
});

t.test('what cannot be meant is an error that names its path and what to do', async t => {
  const cases: [object, RegExp][] = [
    [
      from({ ipBlocks: ['10.0.0.0/8', '10.0.0.0/33'] }),
      /^spec\.rules\[0\]\.from\[0\]\.source\.ipBlocks: expected a prefix length/,
    ],
    [
      from({ notRemoteIpBlocks: ['fe80::1%eth0'] }),
      /source\.notRemoteIpBlocks: expected an IP address, got "fe80::1%eth0"$/,
    ],
    [
      from({ principals: ['spiffe://td/ns/a/sa/b'] }),
      /source\.principals: a principal is written without "spiffe:\/\/"/,
    ],
    [from({ serviceAccounts: ['a*'] }), /source\.serviceAccounts: expected <service account>/],
    [from({ serviceAccounts: ['a/b/c'] }), /source\.serviceAccounts: expected <service account>/],
    [from({ serviceAccounts: ['a'], notPrincipals: ['b'] }), /source\.serviceAccounts: cannot be combined/],
    [from({ notServiceAccounts: ['a'], namespaces: ['b'] }), /source\.serviceAccounts: cannot be combined/],
    [from({ namespaces: ['*a*b*c*'] }), /source\.namespaces: expected at most 3 "\*"/],
    [from({ trustDomains: ['td/ns'] }), /source\.trustDomains: expected a trust domain/],
    [
      to({ ports: ['65536'] }),
      /^spec\.rules\[0\]\.to\[0\]\.operation\.ports: expected a port of 0 to 65535, got "65536"$/,
    ],
    [to({ ports: ['80-90'] }), /operation\.ports: expected a port/],
    [to({ notPorts: ['*'] }), /operation\.notPorts: expected a port/],
    [to({ paths: ['/a/{**}/b/{*}'] }), /operation\.paths: {\*\*} must be the last operator/],
    [to({ notPaths: ['/a/{*}.txt'] }), /operation\.notPaths: {\*} and {\*\*} must be a whole segment/],
    [
      when('request.header[x]'),
      /^spec\.rules\[0\]\.when\[0\]\.key: "request\.header\[x\]" is not an attribute: expected one of source\.principal/,
    ],
    [when('request.headers'), /is not an attribute: expected request\.headers\[name\]/],
    [when('request.headers[]'), /is not an attribute: expected request\.headers\[name\]/],
    [when('request.headers[a][b]'), /is not an attribute: expected request\.headers\[name\]/],
    [when('request.headers[:path]'), /:path is not a header here: use hosts, methods and paths/],
    [when('request.headers[a b]'), /"a b" is not the name of a header$/],
    [when('destination.labels[app]'), /use spec\.selector\.matchLabels$/],
    [when('destination.namespace'), /use the namespace of the policy$/],
    [when('experimental.envoy.filters.a[b]'), /there is no Envoy here/],
    [when('source.ip', 'nowhere'), /^spec\.rules\[0\]\.when\[0\]: expected an IP address, got "nowhere"$/],
    [when('toString'), /"toString" is not an attribute/],
    [when('host'), /"host" is not an attribute/],
  ];
  for (const [spec, expected] of cases) {
    const { errors } = check(spec);
    t.equal(errors.length, 1, JSON.stringify(spec));
    t.match(errors[0], expected);
  }
  t.match(check({}, {}, { 'istio.io/dry-run': 'yes' }).errors, [
    /^metadata\.annotations\["istio\.io\/dry-run"\]: expected "true"/,
  ]);
});

t.test('what is legal and hardly meant is a warning', async t => {
  const cases: [object, RegExp][] = [
    [{}, /^spec\.rules: there are none, so the policy never matches: it denies every request/],
    [{ action: 'DENY', rules: [] }, /^spec\.rules: .* it denies nothing$/],
    [
      to({ paths: ['/a/*/b'] }),
      /operation\.paths: only one "\*", at the start or the end, is a wildcard: "\/a\/\*\/b"/,
    ],
    [to({ paths: ['*/a/*'] }), /operation\.paths: only one "\*"/],
    [to({ paths: ['a'] }), /operation\.paths: a path starts with "\/": "a" never matches$/],
    [to({ paths: ['/a?b=c'] }), /operation\.paths: a path is compared without query/],
    [from({ principals: ['cart'] }), /source\.principals: a principal is .*: "cart" never matches$/],
    [to({ methods: ['get'] }), /operation\.methods: methods are written in capitals: "get" never matches$/],
    [to({ hosts: [] }), /^spec\.rules\[0\]\.to\[0\]\.operation\.hosts: empty, so it restricts nothing$/],
    [to({}), /^spec\.rules\[0\]\.to\[0\]\.operation: empty/],
    [{ rules: [{ from: [] }] }, /^spec\.rules\[0\]\.from: empty/],
    [from({ notPrincipals: ['td/ns/a/sa/b'] }), /source\.notPrincipals: also allows callers without mTLS/],
    [from({ notRequestPrincipals: ['iss/a'] }), /notRequestPrincipals: also allows callers without a token/],
    [
      { rules: [{ when: [{ key: 'source.namespace', notValues: ['x'] }] }] },
      /^spec\.rules\[0\]\.when\[0\]: also allows callers without mTLS/,
    ],
  ];
  for (const [spec, expected] of cases) {
    const { errors, warnings } = check(spec);
    t.same(errors, [], JSON.stringify(spec));
    t.equal(warnings.length, 1, JSON.stringify(spec));
    t.match(warnings[0], expected);
  }
});

t.test('a negative identity beside a positive one, or in a DENY policy, is no trap', async t => {
  t.same(check(from({ principals: ['*'], notPrincipals: ['td/ns/a/sa/b'] })).warnings, []);
  t.same(check({ action: 'DENY', ...from({ notPrincipals: ['td/ns/a/sa/b'] }) }).warnings, []);
});

t.test('an HTTP field is a warning only where a TCP port is served, and says what it does there', async t => {
  const spec = to({ methods: ['GET'], ports: ['80'] });
  t.same(check(spec).warnings, []);
  t.match(check(spec, { servesTcp: true }).warnings, [/operation\.methods: .* this rule never allows$/]);
  t.match(check({ action: 'DENY', ...spec }, { servesTcp: true }).warnings, [
    /operation\.methods: .* the rule denies more$/,
  ]);
});

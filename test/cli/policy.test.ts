import { join } from 'node:path';
import t, { type Test } from 'tap';
import { run } from '../fixtures/cli-run.ts';

const policies = `policies:
  - apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: { name: readers, namespace: shop }
    spec:
      rules:
        - from: [{ source: { principals: [cluster.local/ns/shop/sa/cart] } }]
          to: [{ operation: { methods: [GET], paths: ["/items/*"] } }]
`;

const reads = `
  - name: the cart reads
    from: { principal: cluster.local/ns/shop/sa/cart, namespace: shop }
    to: { namespace: shop }
    request: { protocol: http2, method: GET, host: catalog, path: /items/7?x }
    expect: allow
`;

/** Runs `mesolite policy test` on a file of that text. */
async function test(t: Test, text: string, ...options: readonly string[]) {
  const dir = t.testdir({ 'cases.yaml': text });
  const { err, ...run_ } = await run(['policy', 'test', join(dir, 'cases.yaml'), ...options]);
  return { ...run_, err: err.replaceAll(`${dir}/`, '') };
}

const rowsOf = (out: string): unknown[] =>
  out
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));

t.test('cases that agree end with 0 and a table', async t => {
  const { code, out, err } = await test(t, `${policies}cases:${reads}`);
  t.equal(code, 0, err);
  t.equal(out, 'CASE             EXPECT   GOT          RULE\nthe cart reads   allow    allow   ok   shop/readers#0\n');
  t.equal(err, '1 of 1 cases agree\n');
});

t.test('a case that differs ends with 1, and the rule is told', async t => {
  const plaintext = `
  - name: in plain text
    from: { ip: 10.0.0.1 }
    to: { namespace: shop }
    request: { path: /items/7 }
    expect: allow
`;
  const { code, out, err } = await test(t, `${policies}cases:${reads}${plaintext}`, '--json');
  t.equal(code, 1);
  t.same(rowsOf(out), [
    { name: 'the cart reads', expect: 'allow', got: 'allow', rule: 'shop/readers#0' },
    { name: 'in plain text', expect: 'allow', got: 'deny', rule: 'no-allow-matched' },
  ]);
  t.equal(err, 'mesolite: cases.yaml: 1 of 2 cases differ\n');
});

t.test('JSON is read too, and many cases come as a short table of those that differ', async t => {
  const cases = Array.from({ length: 5_000 }, (_, i) => ({
    name: `case ${i}`,
    request: { path: `/${i}` },
    expect: i === 4_711 ? 'deny' : 'allow',
  }));
  const { code, out } = await test(t, JSON.stringify({ policies: [], cases }));
  t.equal(code, 1);
  t.match(out, /^CASE .*\ncase 4711 +deny +allow +differs +no-policy\n$/);
});

t.test('the mesh is as the master’s options make it', async t => {
  const asked = (expect: string) => `cases:
  - { name: nobody speaks, expect: ${expect} }
`;
  t.equal((await test(t, asked('allow'))).code, 0);
  t.equal((await test(t, asked('deny'), '--mesh-default', 'deny')).code, 0);
  const everywhere = policies.replace('namespace: shop', 'namespace: top');
  t.equal((await test(t, `${everywhere}cases:${reads}`, '--json')).out.includes('no-policy'), true);
  t.equal((await test(t, `${everywhere}cases:${reads}`, '--json', '--root-namespace', 'top')).code, 0);
  const foreign = await test(t, `${policies}cases:${reads}`, '--json', '--trust-domain', 'edge.example');
  t.match(foreign.out, /"got":"deny"/, 'cluster.local is edge.example then, and the caller is of another mesh');
});

t.test('AUDIT decides nothing, and a dry run only shows what it would change', async t => {
  const more = policies.replace('spec:', 'spec:\n      action: ALLOW') + policies.slice('policies:\n'.length);
  const audit = more.replace('ALLOW', 'AUDIT').replace('readers', 'audit');
  const dry = audit
    .replace('AUDIT', 'DENY')
    .replace('namespace: shop }', 'namespace: shop, annotations: { istio.io/dry-run: "true" } }');
  const audited = await test(t, `${audit}cases:${reads}`, '--json');
  t.same(rowsOf(audited.out), [{ name: 'the cart reads', expect: 'allow', got: 'allow', rule: 'shop/readers#0' }]);
  const tried = await test(t, `${dry}cases:${reads}`, '--json');
  t.equal(tried.code, 0);
  t.match(rowsOf(tried.out), [{ got: 'allow', dryRun: { got: 'deny', rule: 'shop/audit#0' } }]);
  t.match((await test(t, `${dry}cases:${reads}`)).out, /IN DRY RUN\n.* deny by shop\/audit#0\n$/);
});

t.test('a STRICT PeerAuthentication denies callers in plain text, and them alone', async t => {
  const strict = `policies:
  - apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: { name: strict, namespace: shop }
    spec: { mtls: { mode: STRICT } }
`;
  const plaintext = '  - { name: in plain text, to: { namespace: shop }, expect: deny }\n';
  const { code, out } = await test(t, `${strict}cases:${reads}${plaintext}`, '--json');
  t.equal(code, 0);
  t.match(rowsOf(out), [{ rule: 'no-policy' }, { rule: 'mtls-required' }]);
});

t.test('headers are found whatever their case, and claims as a token would carry them', async t => {
  const when = (key: string) => policies.replace(/- from[\s\S]*/, `- when: [{ key: "${key}", values: ["a"] }]\n`);
  const asked = (request: string) => `cases:
  - { name: n, to: { namespace: shop }, request: ${request}, expect: allow }
`;
  t.equal((await test(t, when('request.headers[x-who]') + asked('{ headers: { X-Who: a } }'))).code, 0);
  t.equal((await test(t, when('request.headers[x-who]') + asked('{ headers: { X-Who: b } }'))).code, 1);
  t.equal((await test(t, when('request.auth.claims[groups]') + asked('{ claims: { groups: [b, a] } }'))).code, 0);
});

t.test('what counts for nothing is said', async t => {
  const odd = `cases:
  - { name: n, from: { namespace: shop }, request: { protocol: tcp, path: /x }, expect: allow }
`;
  const other =
    'policies: [{ apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: { name: d }, spec: { host: d } }]\n';
  const { code, err } = await test(t, other + odd);
  t.equal(code, 0);
  t.match(err, 'cases[0].from.namespace: counts for nothing');
  t.match(err, 'cases[0].request.path: counts for nothing');
  t.match(err, 'policies[0]: DestinationRule default/d does not say who may');
});

t.test('mistakes are named with file, path and reason, all of them', async t => {
  const cases = `cases:${reads}`;
  const wrong: readonly (readonly [text: string, said: RegExp])[] = [
    ['a: [', /^mesolite: cases\.yaml: line 1, column 5: a bracket that is not closed/],
    ['policies: []\npolicies: []\n', /^mesolite: cases\.yaml: line 2, column 1: a field that stands there already/],
    [policies, /^mesolite: cases\.yaml: cases: required, but missing/],
    ['cases: []', /^mesolite: cases\.yaml: cases: expected at least one case/],
    [cases.replace('expect: allow', 'expect: yes'), /cases\.yaml: cases\[0\]\.expect: .*"allow" \| "deny".*"yes"/],
    [cases.replace('path:', 'pth:'), /cases\.yaml: cases\[0\]\.request\.pth: unknown field/],
    [cases.replace('cluster.local/', 'spiffe://x/'), /cases\[0\]\.from\.principal: expected <trust domain>\/ns\//],
    [cases.replace('namespace: shop }', 'namespace: bank }'), /cases\[0\]\.from: namespace is another/],
    [cases.replace('to: { ', 'to: { ip: ten, '), /cases\[0\]\.to\.ip: expected an IP address, got "ten"/],
    [
      policies.replace('paths', 'path') + cases,
      /policies\[0\]: spec\.rules\[0\]\.to\[0\]\.operation\.path: unknown field/,
    ],
    [
      policies.replace('/items/*', '/{**}/b/{*}') + cases,
      /policies\[0\]: spec\.rules\[0\]\.to\[0\]\.operation\.paths: /,
    ],
    [
      policies.replace('AuthorizationPolicy', 'EnvoyFilter') + cases,
      /policies\[0\]: kind: EnvoyFilter is not supported/,
    ],
  ];
  for (const [text, said] of wrong) {
    const { code, out, err } = await test(t, text);
    t.equal(code, 1);
    t.equal(out, '');
    t.match(err, said);
  }
  const job = 'apiVersion: mesolite/v1\nkind: Job\nmetadata: { name: hello }\nspec: {}\n';
  for (const text of [job, `${job}---\n${job}`]) {
    t.match(
      (await test(t, text)).err,
      /: expected a file with `policies` and `cases`, got a document of the kind "Job"\n$/,
    );
  }
  t.match((await test(t, `policies: []\n${cases}---\n${job}`)).err, /: expected one document, got several\n$/);
  const gone = await run(['policy', 'test', '/nowhere/cases.yaml']);
  t.equal(gone.err, 'mesolite: /nowhere/cases.yaml: no such file\n');
});

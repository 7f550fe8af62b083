import t from 'tap';
import { decodeDocument, type Job, type PolicyOf } from '../../src/model/document.ts';
import { analyzePolicies } from '../../src/policy/analyze.ts';
import { policyOf } from '../fixtures/istio-corpus.ts';

const job = (name: string, spec: object = {}): Job =>
  decodeDocument(
    {
      apiVersion: 'mesolite/v1',
      kind: 'Job',
      metadata: { name, namespace: 'shop' },
      spec: { command: ['x'], ...spec },
    },
    'job',
  ) as Job;
const web = job('web', { ports: [{ name: 'http', publish: 8080 }], service: { port: 'http' } });
const db = job('db', { ports: [{ name: 'sql', protocol: 'tcp' }], service: { port: 'sql' } });
const strict = decodeDocument(
  {
    apiVersion: 'security.istio.io/v1',
    kind: 'PeerAuthentication',
    metadata: { name: 'strict', namespace: 'shop' },
    spec: { mtls: { mode: 'STRICT' } },
  },
  'peer',
) as PolicyOf<'PeerAuthentication'>;

const policy = (name: string, spec: object, metadata: object = {}) =>
  policyOf({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace: 'shop', ...metadata },
    spec,
  });
const analyze = (
  policies: ReturnType<typeof policy>[],
  {
    jobs = [web, db],
    peers = [] as (typeof strict)[],
    limits = [] as PolicyOf<'RateLimit'>[],
    only = undefined as ReadonlySet<string> | undefined,
  } = {},
) =>
  analyzePolicies({
    policies,
    peerAuthentications: peers,
    requestAuthentications: [],
    rateLimits: limits,
    jobs,
    trustDomain: 'td',
    rootNamespace: 'root',
    ...(only && { only }),
  });
const codes = (...args: Parameters<typeof analyze>) => analyze(...args).map(({ code, path }) => `${code} ${path}`);
const ofWeb = { selector: { matchLabels: { app: 'web' } } };
const from = (source: object) => [{ from: [{ source }] }];
const to = (operation: object) => [{ to: [{ operation }] }];

t.test('a policy that means what it says is not spoken of', async t => {
  const rules = [
    {
      from: [{ source: { principals: ['td/ns/shop/sa/a', '*/sa/b'], notNamespaces: ['x'] } }],
      to: [{ operation: { paths: ['/a'], ports: ['8080'] } }],
    },
  ];
  t.same(codes([policy('p', { ...ofWeb, rules })]), []);
});

t.test('each trap has its code, its place and a way out', async t => {
  const cases: [object, string][] = [
    [ofWeb, 'ALLOW_WITHOUT_RULES spec.rules'],
    [{ ...ofWeb, action: 'DENY' }, 'LIKELY_MISTAKE spec.rules'],
    [{ selector: { matchLabels: { app: 'wbe' } }, rules: [{}] }, 'SELECTS_NOTHING spec.selector.matchLabels'],
    [
      { ...ofWeb, rules: from({ notPrincipals: ['td/ns/a/sa/b'] }) },
      'ALLOW_WITHOUT_IDENTITY spec.rules[0].from[0].source.notPrincipals',
    ],
    [{ ...ofWeb, rules: to({ ports: ['9090'] }) }, 'PORT_NOT_DECLARED spec.rules[0].to[0].operation.ports'],
    [
      { ...ofWeb, rules: from({ principals: ['other/ns/a/sa/b'] }) },
      'UNKNOWN_TRUST_DOMAIN spec.rules[0].from[0].source.principals',
    ],
    [
      { selector: { matchLabels: { app: 'db' } }, rules: to({ methods: ['GET'] }) },
      'HTTP_FIELD_ON_TCP spec.rules[0].to[0].operation.methods',
    ],
    [{ ...ofWeb, rules: to({ methods: ['get'] }) }, 'LIKELY_MISTAKE spec.rules[0].to[0].operation.methods'],
  ];
  for (const [spec, expected] of cases) {
    const warnings = analyze([policy('p', spec)]);
    t.same(
      warnings.map(({ code, path }) => `${code} ${path}`),
      [expected],
    );
    t.match(warnings, [{ document: 'AuthorizationPolicy shop/p', reason: /../, fix: /../ }]);
  }
});

t.test('of any kind it is told that a policy selects nothing', async t => {
  const limit = decodeDocument(
    {
      apiVersion: 'mesolite/v1',
      kind: 'RateLimit',
      metadata: { name: 'slow', namespace: 'shop' },
      spec: { selector: { matchLabels: { app: 'wbe' } }, tokenBucket: { maxTokens: 1, fillInterval: '1s' } },
    },
    'limit',
  ) as PolicyOf<'RateLimit'>;
  t.match(analyze([], { limits: [limit], peers: [strict] }), [
    { code: 'SELECTS_NOTHING', document: 'RateLimit shop/slow', path: 'spec.selector.matchLabels' },
  ]);
  t.same(analyze([], { limits: [limit], only: new Set() }), []);
});

t.test('with STRICT mutual TLS nobody comes without an identity', async t => {
  const policies = [policy('p', { ...ofWeb, rules: from({ notNamespaces: ['x'] }) })];
  t.match(codes(policies), [/^ALLOW_WITHOUT_IDENTITY/]);
  t.same(codes(policies, { peers: [strict] }), []);
  t.same(codes([policy('p', { ...ofWeb, action: 'DENY', rules: from({ notNamespaces: ['x'] }) })]), []);
  t.same(codes([policy('p', { ...ofWeb, rules: from({ notPrincipals: ['*'] }) })]), [], 'nobody else is meant');
  const tokens = policy('p', { ...ofWeb, rules: from({ principals: ['*'], notRequestPrincipals: ['iss/bob'] }) });
  t.match(analyze([tokens], { peers: [strict] }), [
    { code: 'ALLOW_WITHOUT_IDENTITY', reason: /without a token/, fix: 'add requestPrincipals: ["*"]' },
  ]);
});

t.test('where no job is known, nothing is said that hangs on jobs', async t => {
  t.same(codes([policy('p', { ...ofWeb, rules: to({ ports: ['9090'] }) })], { jobs: [] }), []);
  t.same(codes([policy('p', { rules: [{}] }, { namespace: 'nowhere' })]), ['SELECTS_NOTHING metadata.namespace']);
});

t.test('a rule that an earlier one covers, and an ALLOW that a DENY takes back', async t => {
  const onlyWeb = { jobs: [web] };
  const wide = policy('a', { rules: to({ paths: ['/a*'] }) });
  const narrow = policy('b', { ...ofWeb, rules: to({ paths: ['/a/b'] }) });
  t.match(analyze([wide, narrow], onlyWeb), [
    {
      code: 'RULE_SHADOWED',
      document: 'AuthorizationPolicy shop/b',
      path: 'spec.rules[0]',
      reason: /^rule 0 of shop\/a /,
    },
  ]);
  t.same(codes([narrow, wide], onlyWeb), [], 'the wide one comes later: it decides more');
  const denying = policy('d', { action: 'DENY', rules: to({ paths: ['/a/*'] }) });
  t.match(analyze([narrow, denying], onlyWeb), [{ code: 'ALLOW_ALWAYS_DENIED', reason: /^rule 0 of shop\/d / }]);
  const dry = { annotations: { 'istio.io/dry-run': 'true' } };
  t.same(
    codes([policy('a', { rules: to({ paths: ['/a*'] }) }, dry), narrow], onlyWeb),
    [],
    'what is not in force covers nothing',
  );
  const elsewhere = policy('a', { ...ofWeb, rules: to({ paths: ['/a*'] }) });
  t.same(codes([elsewhere, policy('b', { rules: to({ paths: ['/a/b'] }) })], onlyWeb), [], 'it is for fewer workloads');
  const root = policy('a', { rules: to({ paths: ['/a*'] }) }, { namespace: 'root' });
  t.match(codes([root, narrow], onlyWeb), ['RULE_SHADOWED spec.rules[0]']);
});

t.test('only of those that are meant is spoken', async t => {
  const both = [policy('a', ofWeb), policy('b', ofWeb)];
  t.equal(analyze(both, { only: new Set(['AuthorizationPolicy shop/b']) }).length, 1);
});

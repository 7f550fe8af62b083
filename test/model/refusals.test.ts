/** Nothing that is sent is ignored: what Istio and Kubernetes have and this system does not is refused, with what to write instead. */
import t from 'tap';
import { decodeDocument } from '../../src/model/document.ts';
import { parseYaml } from '../../src/model/yaml-text.ts';

const versions: Readonly<Record<string, string>> = {
  AuthorizationPolicy: 'security.istio.io/v1',
  PeerAuthentication: 'security.istio.io/v1',
  RequestAuthentication: 'security.istio.io/v1',
  DestinationRule: 'networking.istio.io/v1',
  VirtualService: 'networking.istio.io/v1',
  RateLimit: 'mesolite/v1',
  Job: 'mesolite/v1',
};

/** The sentence that a document is refused with, behind the file's name. */
function refusal(kind: string, spec: object, more: object = {}): string {
  const document = {
    apiVersion: versions[kind] ?? 'networking.istio.io/v1',
    kind,
    metadata: { name: 'x' },
    spec,
    ...more,
  };
  try {
    decodeDocument(document, 'a.yaml: document 2');
  } catch (error) {
    const message = error instanceof Error ? error.message : '';
    if (message.startsWith('a.yaml: document 2: ')) return message.slice('a.yaml: document 2: '.length);
    return `without its place: ${message}`;
  }
  return 'taken';
}

t.test('a kind that is not there is refused with the nearest thing that works', async t => {
  const cases: [string, RegExp][] = [
    ['Gateway', /^kind: Gateway is not supported: publish the port of a job instead$/],
    ['Sidecar', /upstreams of a job/],
    ['EnvoyFilter', /no Envoy here/],
    ['WasmPlugin', /no Envoy here/],
    ['ServiceEntry', /services are those of jobs/],
    ['WorkloadEntry', /join with an agent/],
    ['WorkloadGroup', /join with agents/],
    ['Telemetry', /--metrics/],
    ['ProxyConfig', /firmware profile/],
    ['HTTPRoute', /VirtualService/],
    ['Ingress', /publish the port/],
    ['NetworkPolicy', /AuthorizationPolicy/],
    ['Deployment', /Job of type service/],
    ['DaemonSet', /Job of type system/],
    ['CronJob', /Job of type periodic/],
    ['Pod', /write a Job$/],
    ['Service', /spec\.service/],
    ['ConfigMap', /spec\.env/],
    ['Authorizationpolicy', /did you mean AuthorizationPolicy\?$/],
    ['AuthorizationPolcy', /did you mean AuthorizationPolicy\?$/],
    ['Jobs', /did you mean Job\?$/],
    ['toString', /expected one of Job, /],
  ];
  for (const [kind, message] of cases) {
    const said = refusal(kind, {});
    t.match(said, message, said);
    t.match(said, new RegExp(`^kind: ${kind} is not supported: `));
  }
});

t.test('a field that Istio has and this system does not is refused with what to write instead', async t => {
  const rule = (http: object) => ({ hosts: ['a'], http: [{ route: [{ destination: { host: 'a' } }], ...http }] });
  const traffic = (trafficPolicy: object) => ({ host: 'a', trafficPolicy });
  const jwt = (more: object) => ({ jwtRules: [{ issuer: 'a', jwks: '{}', ...more }] });
  const cases: [string, object, RegExp][] = [
    ['AuthorizationPolicy', { action: 'CUSTOM' }, /^spec\.action: CUSTOM is not supported: .*ALLOW or DENY/],
    ['AuthorizationPolicy', { provider: { name: 'x' } }, /^spec\.provider: not supported: .*ALLOW or DENY/],
    ['AuthorizationPolicy', { targetRefs: [{}] }, /^spec\.targetRefs: not supported: .*selector\.matchLabels/],
    ['AuthorizationPolicy', { targetRef: {} }, /^spec\.targetRef: not supported: .*selector\.matchLabels/],
    ['RequestAuthentication', { targetRefs: [] }, /^spec\.targetRefs: not supported: .*selector\.matchLabels/],
    ['RequestAuthentication', jwt({ jwks: undefined }), /^spec\.jwtRules\[0\]: expected one of jwks and jwksUri/],
    [
      'RequestAuthentication',
      jwt({ jwks: undefined, jwksUri: 'http://a/k' }),
      /^spec\.jwtRules\[0\]\.jwksUri: expected an https/,
    ],
    [
      'RequestAuthentication',
      jwt({ jwks_uri: 'a' }),
      /^spec\.jwtRules\[0\]\.jwks_uri: unknown field: did you mean jwksUri\?/,
    ],
    ['VirtualService', rule({ delegate: { name: 'a' } }), /^spec\.http\[0\]\.delegate: .*write the routes/],
    ['VirtualService', { ...rule({}), gateways: ['front'] }, /^spec\.gateways\[0\]: .*publish a port/],
    ['VirtualService', { ...rule({}), tcp: [] }, /^spec\.tcp: .*TCP service/],
    ['VirtualService', { ...rule({}), tls: [] }, /^spec\.tls: .*TCP service/],
    ['DestinationRule', traffic({ tunnel: {} }), /^spec\.trafficPolicy\.tunnel: not supported: /],
    ['DestinationRule', traffic({ portLevelSettings: [] }), /^spec\.trafficPolicy\.portLevelSettings: not supported: /],
    [
      'DestinationRule',
      traffic({ loadBalancer: { localityLbSetting: {} } }),
      /^spec\.trafficPolicy\.loadBalancer\.localityLbSetting: not supported: /,
    ],
  ];
  for (const [kind, spec, message] of cases) {
    const said = refusal(kind, spec);
    t.match(said, message, said);
  }
});

t.test('a field that nobody knows is refused with what was probably meant, or with what there is', async t => {
  const from = (source: object) => ({ rules: [{ from: [{ source }] }] });
  const cases: [string, object, RegExp][] = [
    [
      'AuthorizationPolicy',
      from({ principles: ['a'] }),
      /^spec\.rules\[0\]\.from\[0\]\.source\.principles: unknown field: did you mean principals\?$/,
    ],
    ['AuthorizationPolicy', from({ namespace: ['a'] }), /did you mean namespaces\?$/],
    ['AuthorizationPolicy', { rule: [] }, /^spec\.rule: unknown field: did you mean rules\?$/],
    ['AuthorizationPolicy', { rules: [{ when: [{ key: 'a', value: ['b'] }] }] }, /did you mean values\?/],
    ['AuthorizationPolicy', { xyz: 1 }, /^spec\.xyz: unknown field: expected selector, action, rules$/],
    ['PeerAuthentication', { mTLS: {} }, /^spec\.mTLS: unknown field: did you mean mtls\?$/],
    ['PeerAuthentication', { mtls: { Mode: 'STRICT' } }, /did you mean mode\?$/],
    [
      'RateLimit',
      { tokenBucket: { maxToken: 1, fillInterval: '1s' } },
      /maxToken: unknown field: did you mean maxTokens\?/,
    ],
    ['VirtualService', { host: ['a'], http: [] }, /spec\.host: unknown field: did you mean hosts\?/],
    ['DestinationRule', { host: 'a', trafficPolicies: {} }, /did you mean trafficPolicy\?$/],
    ['Job', { command: ['a'], port: [] }, /^spec\.port: unknown field: did you mean ports\?$/],
    ['Job', { command: ['a'], health: { type: 'tcp', port: 'p', treshold: 1 } }, /did you mean threshold\?$/],
  ];
  for (const [kind, spec, message] of cases) {
    const said = refusal(kind, spec);
    t.match(said, message, said);
  }
  t.match(refusal('Job', {}, { metadata: { nam: 'x' } }), /metadata\.nam: unknown field: did you mean name\?/);
});

t.test('what Kubernetes adds by itself is refused by name', async t => {
  for (const field of ['resourceVersion', 'uid', 'generation', 'creationTimestamp', 'managedFields', 'finalizers']) {
    const said = refusal('PeerAuthentication', {}, { metadata: { name: 'x', [field]: 'a' } });
    t.equal(said, `metadata.${field}: not supported: it is what Kubernetes itself writes: leave it out`);
  }
  t.match(refusal('PeerAuthentication', {}, { status: {} }), /^status: not supported: .*leave it out$/);
});

t.test('a message that tells what was expected tells what came', async t => {
  const cases: [string, object, RegExp][] = [
    ['AuthorizationPolicy', { action: 'allow' }, /^spec\.action: expected ALLOW, DENY or AUDIT, got "allow"$/],
    [
      'AuthorizationPolicy',
      { rules: [{ from: [{ source: { principals: [''] } }] }] },
      /expected a text that is not empty, got ""$/,
    ],
    ['PeerAuthentication', { mtls: { mode: 'strict' } }, /^spec\.mtls\.mode: .*received "strict"$/],
    ['RateLimit', { tokenBucket: { maxTokens: 0, fillInterval: '1s' } }, /maxTokens: .*>=1 but received 0$/],
    [
      'RateLimit',
      { tokenBucket: { maxTokens: 1, fillInterval: 'soon' } },
      /fillInterval: expected a duration .*, got "soon"$/,
    ],
    [
      'RateLimit',
      { tokenBucket: { maxTokens: 1, fillInterval: '1ms' } },
      /fillInterval: expected at least 50ms, got 1$/,
    ],
    ['Job', { command: ['a'], instances: -1 }, /^spec\.instances: .*-1$/],
    ['Job', { command: ['a'], resources: { cpus: 'x' } }, /^spec\.resources\.cpus: .*"x"$/],
  ];
  for (const [kind, spec, message] of cases) {
    const said = refusal(kind, spec);
    t.match(said, message, said);
  }
});

t.test('the place is named as it is in a file of several documents', async t => {
  const text = 'kind: Gateway\n---\nkind: AuthorizationPolicy\n';
  const [first] = parseYaml(text, 'two.yaml');
  t.throws(() => decodeDocument(first?.value, first?.what ?? ''), {
    message: /^two\.yaml: document 1: kind: Gateway is not/,
  });
});

import t from 'tap';
import { decodeDocument, describeDocument } from '../../src/model/document.ts';

const job = (spec: object = {}, metadata: object = {}) => ({
  apiVersion: 'mesolite/v1',
  kind: 'Job',
  metadata: { name: 'hello', ...metadata },
  spec: { command: ['true'], ...spec },
});
const sha256 = 'a'.repeat(64);
const own = `mesolite:${sha256}`;
const artifacts = (...all: readonly object[]) => job({ artifacts: all });
const policy = (spec: object = {}, metadata: object = {}) => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'hello', ...metadata },
  spec,
});
const rules = (rule: object) => policy({ rules: [rule] });

t.test('a job says little and gets the rest by default', async t => {
  const document = decodeDocument(job(), 'job.yaml');
  t.equal(describeDocument(document), 'Job default/hello');
  t.match(document, {
    metadata: { namespace: 'default', labels: {} },
    spec: { type: 'service', priority: 50, instances: 1, killGrace: 5000, resources: { cpus: 0.1, disk: 0 } },
  });
});

t.test('a policy may be empty: it allows nothing', async t => {
  const { kind, metadata, apiVersion } = policy();
  t.match(decodeDocument({ kind, metadata, apiVersion }, 'p.yaml'), { spec: { action: 'ALLOW' } });
  t.equal(describeDocument(decodeDocument(policy({}, { namespace: 'shop' }), 'p')), 'AuthorizationPolicy shop/hello');
});

t.test('durations are whole milliseconds within ten years', async t => {
  for (const [text, ms] of [
    ['250ms', 250],
    ['1.5s', 1500],
    ['0.5ms', 1],
    ['10m', 600_000],
    ['7d', 604_800_000],
  ] as const) {
    t.match(decodeDocument(job({ killGrace: text }), 'j'), { spec: { killGrace: ms } }, text);
  }
  for (const text of ['5', '-1s', '1 s', '1w', '', 's', `${'9'.repeat(400)}d`, '3651d']) {
    t.throws(
      () => decodeDocument(job({ killGrace: text }), 'j'),
      { code: 'INVALID_INPUT', message: /^j: spec\.killGrace: / },
      text,
    );
  }
});

t.test('a bad document is refused with the file, the path and what is wrong', async t => {
  const cases: [unknown, string][] = [
    [null, 'f: invalid type: Expected Object but received null'],
    [[], 'f: kind: invalid'],
    [{}, 'f: kind: '],
    [{ ...job(), kind: 'Pod' }, 'f: kind: Pod is not supported: write a Job'],
    [{ ...job(), kind: 'toString' }, 'f: kind: toString is not supported'],
    [{ ...job(), kind: 'EnvoyFilter' }, 'f: kind: EnvoyFilter is not supported: there is no Envoy here to patch'],
    [{ ...job(), status: {} }, 'f: status: not supported: it is what Kubernetes itself writes'],
    [{ ...job(), apiVersion: 'v1' }, 'f: apiVersion: expected mesolite/v1, got "v1"'],
    [
      job({}, { name: 'Hello_World' }),
      'f: metadata.name: expected a name of 1 to 63 of a-z, 0-9 and "-", got "Hello_World"',
    ],
    [job({}, { name: 'x'.repeat(64) }), 'f: metadata.name: expected a name'],
    [job({}, { name: '' }), 'f: metadata.name: expected a name'],
    [job({}, { name: 7 }), 'f: metadata.name: '],
    [job({}, { uid: 'x' }), 'f: metadata.uid: not supported: '],
    [job({}, { labels: { a: 1 } }), 'f: metadata.labels.a: '],
    [job({ replicas: 2 }), 'f: spec.replicas: not supported: write instances'],
    [job({ image: 'nginx' }), 'f: spec.image: not supported: no containers are run'],
    [job({ resources: { memory: 64 } }), 'f: spec.resources.memory: not supported: write mem, in MB'],
    [job({ command: 'python3 x.py' }), 'f: spec.command: expected a list, as [python3, server.py]'],
    [job({ resources: { cpus: -0.5 } }), 'f: spec.resources.cpus: expected 0 or more'],
    [job({ resources: { cpus: '1' } }), 'f: spec.resources.cpus: invalid type: Expected number but received "1"'],
    [job({ resources: { mem: Number.NaN } }), 'f: spec.resources.mem: '],
    [job({ resources: { gpus: 1 } }), 'f: spec.resources.gpus: unknown field'],
    [job({ instances: -1 }), 'f: spec.instances: expected 0 or more'],
    [job({ instances: 1.5 }), 'f: spec.instances: '],
    [job({ priority: 101 }), 'f: spec.priority: expected at most 100'],
    [job({ command: [] }), 'f: spec.command: '],
    [job({ command: 'ls' }), 'f: spec.command: '],
    [job({ command: undefined }), 'f: spec: command: required, but missing'],
    [job({ env: { 'A-B': 'x' } }), 'f: spec.env.A-B: expected the name of an environment variable'],
    [job({ ports: [{ name: 'http', protocol: 'udp' }] }), 'f: spec.ports[0].protocol: '],
    [job({ ports: [{ name: 'a' }, { name: 'a' }] }), 'f: spec: ports: two ports have the same name'],
    [job({ service: { port: 'http' } }), 'f: spec: service.port: not one of the job’s ports'],
    [job({ health: { type: 'http', port: 'http' } }), 'f: spec: health.port: not one of the job’s ports'],
    [
      job({ ports: [{ name: 'rpc', protocol: 'grpc' }], health: { type: 'http', port: 'rpc' } }),
      'f: spec: health.type: expected tcp, since a server of gRPC does not answer HTTP/1.1',
    ],
    [job({ tasks: [{ name: 'a' }] }), 'f: spec: tasks: only a batch or a periodic job has a list of tasks'],
    [job({ type: 'batch', tasks: [{ name: 'a' }, { name: 'a' }] }), 'f: spec: tasks: two tasks have the same name'],
    [job({ upstreams: ['a.b.c'] }), 'f: spec.upstreams[0]: expected <service> or <service>.<namespace>, got "a.b.c"'],
    [job({ upstreams: [{ localPort: 1 }] }), 'f: spec.upstreams[0]: expected {service: <service>, localPort: '],
    [
      job({ upstreams: [{ service: 'db', localPort: 0 }] }),
      'f: spec.upstreams[0].localPort: expected a port of 1 to 65535',
    ],
    [job({ upstreams: [{ service: 'db', port: 1 }] }), 'f: spec.upstreams[0]: expected {service: <service>, '],
    [job({ upstreams: ['db', { service: 'db' }] }), 'f: spec: upstreams: two lead to the same service'],
    [
      job({ upstreams: ['a', 'b'].map(service => ({ service, localPort: 5432 })) }),
      'f: spec: two ports or upstreams ask for the same port of the node',
    ],
    [artifacts({ source: 'https://host/a.tar.gz' }), 'f: spec.artifacts[0]: sha256: required with https'],
    [
      artifacts({ source: 'http://host/a', sha256 }),
      'f: spec.artifacts[0].source: expected https://… or mesolite:<sha256>',
    ],
    [artifacts({ source: 'https://ann:pw@host/a', sha256 }), 'f: spec.artifacts[0].source: expected https://…'],
    [artifacts({ source: 'mesolite:abc' }), 'f: spec.artifacts[0].source: expected https://…'],
    [
      artifacts({ source: own, sha256: 'b'.repeat(64) }),
      'f: spec.artifacts[0]: sha256: differs from the one in source',
    ],
    [artifacts({ source: own, sha256: 'B' }), 'f: spec.artifacts[0].sha256: expected 64 hexadecimal digits'],
    [artifacts({ source: own, unpack: 'zip' }), 'f: spec.artifacts[0].unpack: '],
    [artifacts({ source: own, unpack: 'none' }), 'f: spec.artifacts[0]: destination: required, since the source does'],
    ...['/etc', '../a', 'a/../b', 'a//b', '', './a', 'a\nb'].map((destination): [unknown, string] => [
      artifacts({ source: own, destination }),
      'f: spec.artifacts[0].destination: expected a path below the task’s directory',
    ]),
    [
      artifacts(...['https://a/x', 'https://b/x'].map(source => ({ source, sha256, unpack: 'none' }))),
      'f: spec.artifacts: two would be the same file: give each its destination',
    ],
    [artifacts(...Array.from({ length: 17 }, () => ({ source: own }))), 'f: spec.artifacts: expected at most 16'],
    [policy({ action: 'CUSTOM' }), 'f: spec.action: CUSTOM is not supported'],
    [policy({ action: 'allow' }), 'f: spec.action: expected ALLOW, DENY or AUDIT, got "allow"'],
    [policy({ targetRefs: [] }), 'f: spec.targetRefs: not supported: '],
    [rules({ from: [{ source: { principal: ['a'] } }] }), 'f: spec.rules[0].from[0].source.principal: unknown field'],
    [rules({ from: [{}] }), 'f: spec.rules[0].from[0].source: required, but missing'],
    [rules({ to: [{ operation: { paths: '/a' } }] }), 'f: spec.rules[0].to[0].operation.paths: '],
    [rules({ to: [{ operation: { ports: [80] } }] }), 'f: spec.rules[0].to[0].operation.ports[0]: '],
    [
      rules({ to: [{ operation: { paths: [''] } }] }),
      'f: spec.rules[0].to[0].operation.paths[0]: expected a text that is not empty',
    ],
    [
      rules({ when: [{ key: 'source.ip' }] }),
      'f: spec.rules[0].when[0]: expected at least one of values and notValues',
    ],
    [
      rules({ from: [{ source: { serviceAccounts: Array(17).fill('a') } }] }),
      'f: spec.rules[0].from[0].source.serviceAccounts: ',
    ],
    [policy({ rules: Array(513).fill({}) }), 'f: spec.rules: '],
  ];
  for (const [input, start] of cases) {
    try {
      decodeDocument(input, 'f');
      t.fail(`taken: ${JSON.stringify(input)}`);
    } catch (error) {
      t.match(error, { code: 'INVALID_INPUT' });
      const message = error instanceof Error ? error.message : '';
      t.equal(message.slice(0, start.length), start);
    }
  }
});

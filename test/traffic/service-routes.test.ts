import fc from 'fast-check';
import t from 'tap';
import { seededRandom } from '../../src/base/random.ts';
import { decodeDocument } from '../../src/model/document.ts';
import type { WorkloadIdentity } from '../../src/model/policy.ts';
import { compileRegex } from '../../src/traffic/regex.ts';
import { drawDestination, isHit } from '../../src/traffic/route-action.ts';
import { parameterOf } from '../../src/traffic/route-match.ts';
import { chooseRoute, compileRoutes, type VirtualService } from '../../src/traffic/service-routes.ts';
import { naiveRoute, type PlainRequest } from '../fixtures/naive-routes.ts';

const caller: WorkloadIdentity = {
  namespace: 'default',
  serviceAccount: 'client',
  labels: { app: 'client', tier: 'a' },
};

function virtualService(metadata: object, spec: object): VirtualService {
  const document = decodeDocument(
    { apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata, spec },
    'test',
  );
  if (document.kind !== 'VirtualService') throw new TypeError(document.kind);
  return document;
}

const plain: PlainRequest = { method: 'GET', authority: 'web', path: '/', query: '', headers: {} };

function choose(
  documents: readonly VirtualService[],
  request: Partial<PlainRequest> = {},
  from = caller,
  service = 'web.default',
) {
  const routes = compileRoutes(documents, compileRegex).routesOf(service, from);
  if (routes === undefined) return undefined;
  const all = { ...plain, ...request };
  const chosen = chooseRoute(routes, {
    ...all,
    port: Number(all.authority.split(':')[1] ?? 80),
    header: name => all.headers[Buffer.from(name).toString()],
  });
  return chosen?.route.label ?? 'none';
}

t.test('the compiled routes choose what a plain reading of the documents chooses', async () => {
  const word = fc.constantFrom('', '/', '/a', '/ab', '/A', '/a/b', 'GET', 'POST', 'web', 'web:81', 'x', 'xy');
  const stringMatch = fc.oneof(
    word.map(exact => ({ exact })),
    word.filter(text => text !== '').map(prefix => ({ prefix })),
    fc
      .constantFrom('/a.*', '[A-Z]+', '(x|y)*', '/a|/b', 'web(:81)?', '')
      .filter(text => text !== '')
      .map(regex => ({ regex })),
  );
  const presence = fc.oneof(stringMatch, fc.constant({}));
  const named = (names: string[]) => fc.dictionary(fc.constantFrom(...names), presence, { maxKeys: 2 });
  const match = fc.record(
    {
      uri: stringMatch,
      ignoreUriCase: fc.boolean(),
      method: stringMatch,
      authority: stringMatch,
      scheme: fc.constantFrom({ exact: 'http' }, { exact: 'https' }),
      headers: named(['x-a', 'X-B']),
      withoutHeaders: named(['x-a', 'x-c']),
      queryParams: named(['a', 'bc']),
      port: fc.constantFrom(80, 81),
      sourceLabels: fc.constantFrom({ app: 'client' }, { app: 'other' }, { app: 'client', tier: 'a' }),
      sourceNamespace: fc.constantFrom('default', 'shop'),
    },
    { requiredKeys: [] },
  );
  const http = fc.record(
    { match: fc.array(match, { maxLength: 3 }), route: fc.constant([{ destination: { host: 'web' } }]) },
    { requiredKeys: ['route'] },
  );
  const document = fc.record({
    namespace: fc.constantFrom('default', 'shop', 'other'),
    spec: fc.record(
      {
        hosts: fc.array(
          fc.constantFrom('web', 'api', 'web.default.mesh', 'web.default.svc.cluster.local', 'web.shop.mesh'),
          { minLength: 1, maxLength: 2 },
        ),
        http: fc.array(http, { minLength: 1, maxLength: 4 }),
        exportTo: fc.constantFrom(['.'], ['*'], ['.', '*']),
      },
      { requiredKeys: ['hosts', 'http'] },
    ),
  });
  const request = fc.record({
    method: fc.constantFrom('GET', 'POST'),
    authority: fc.constantFrom('web', 'web:81'),
    path: fc.constantFrom('/', '/a', '/ab', '/A', '/a/b', '/c'),
    query: fc.constantFrom('', '?', '?a', '?a=x', '?a=xy&bc=', '?b=1&bc=x&bc=y', '?abc=x'),
    headers: fc.dictionary(fc.constantFrom('x-a', 'x-b', 'x-c'), fc.constantFrom('x', 'xy', ''), { maxKeys: 3 }),
  });
  const from = fc.constantFrom(caller, { ...caller, namespace: 'shop', labels: { app: 'other' } });
  fc.assert(
    fc.property(fc.array(document, { maxLength: 3 }), request, from, (drawn, asked, who) => {
      const documents = drawn.map(({ namespace, spec }, i) => virtualService({ name: `v${i}`, namespace }, spec));
      const expected = naiveRoute(documents, { name: 'web', namespace: 'default' }, who, asked);
      const got = choose(documents, asked, who);
      if (got !== expected) throw new Error(`expected ${expected}, got ${got}`);
    }),
    { numRuns: 3000, seed: 4 },
  );
});

t.test('of several documents the one of the caller’s namespace speaks, then the one of the service’s', async t => {
  const http = [{ route: [{ destination: { host: 'web' } }] }];
  const hosts = ['web.default.mesh'];
  const of = (namespace: string, spec = {}) => virtualService({ name: 'v', namespace }, { hosts, http, ...spec });
  const shop = { ...caller, namespace: 'shop' };
  t.equal(choose([of('shop'), of('default')]), 'default/v#0');
  t.equal(choose([of('shop'), of('default')], {}, shop), 'shop/v#0');
  t.equal(choose([of('other'), of('default')], {}, shop), 'default/v#0');
  t.equal(choose([of('z'), of('other')], {}, shop), 'other/v#0');
  t.equal(choose([of('shop', { exportTo: ['.'] })]), undefined);
  t.equal(choose([of('shop')], {}, caller, 'api.default'), undefined);
});

t.test('a caller hears of every service that its calls may go to', async t => {
  const document = virtualService(
    { name: 'v' },
    {
      hosts: ['web'],
      http: [
        { match: [{ sourceNamespace: 'shop' }], route: [{ destination: { host: 'not-for-you' } }] },
        {
          route: [
            { destination: { host: 'web' }, weight: 90 },
            { destination: { host: 'canary.shop.mesh' }, weight: 10 },
            { destination: { host: 'idle' }, weight: 0 },
          ],
          mirrors: [{ destination: { host: 'copy' } }],
        },
      ],
    },
  );
  const routes = compileRoutes([document], compileRegex).routesOf('web.default', caller);
  t.same(routes?.services, ['web.default', 'canary.shop', 'copy.default']);
});

t.test('weights are shares, and a percentage is one of a hundred', async t => {
  const document = virtualService(
    { name: 'v' },
    {
      hosts: ['web'],
      http: [
        {
          route: [
            { destination: { host: 'a' }, weight: 3 },
            { destination: { host: 'b' }, weight: 1 },
            { destination: { host: 'c' } },
          ],
        },
      ],
    },
  );
  const action = compileRoutes([document], compileRegex).routesOf('web.default', caller)?.routes[0]?.action;
  if (action?.kind !== 'forward') throw new TypeError('expected a forward');
  const random = seededRandom(1);
  const drawn = new Map<string, number>();
  const runs = 20_000;
  for (let i = 0; i < runs; i++) {
    const service = drawDestination(action, random)?.service ?? '';
    drawn.set(service, (drawn.get(service) ?? 0) + 1);
  }
  t.same([...drawn.keys()].sort(), ['a.default', 'b.default']);
  const threeSigma = 3 * Math.sqrt(runs * 0.75 * 0.25);
  t.ok(Math.abs((drawn.get('a.default') ?? 0) - 0.75 * runs) < threeSigma);
  t.ok(isHit(100, () => 0.999999));
  t.notOk(isHit(0, () => 0));
  t.ok(isHit(50, () => 0.4999));
  t.notOk(isHit(50, () => 0.5));
});

t.test('a parameter is what stands behind its first name', async t => {
  t.equal(parameterOf('?a=1&b=2', 'b'), '2');
  t.equal(parameterOf('?a=1&a=2', 'a'), '1');
  t.equal(parameterOf('?a', 'a'), '');
  t.equal(parameterOf('?ab=1', 'a'), undefined);
  t.equal(parameterOf('?b=a=1', 'a'), undefined);
  t.equal(parameterOf('', 'a'), undefined);
  t.equal(parameterOf('?&&a=%20', 'a'), '%20');
});

import t from 'tap';
import { type DestinationRule, decodeDocument, type Job } from '../../src/model/document.ts';
import { analyzeTraffic } from '../../src/traffic/analyze.ts';
import type { VirtualService } from '../../src/traffic/service-routes.ts';

const document = (kind: string, name: string, spec: object) =>
  decodeDocument({ apiVersion: 'networking.istio.io/v1', kind, metadata: { name }, spec }, kind);
const job = (name: string, labels: object = {}) =>
  decodeDocument(
    {
      apiVersion: 'mesolite/v1',
      kind: 'Job',
      metadata: { name, labels },
      spec: { command: ['x'], ports: [{ name: 'http' }], service: { port: 'http', name: 'reviews' } },
    },
    'job',
  ) as Job;
const rule = document('DestinationRule', 'reviews', {
  host: 'reviews',
  subsets: [
    { name: 'v1', labels: { version: 'v1' } },
    { name: 'v2', labels: { version: 'v2' } },
  ],
}) as DestinationRule;
const route = (host: string, ...destinations: object[]) =>
  document('VirtualService', 'route', { hosts: [host], http: [{ route: destinations }] }) as VirtualService;
const to = (subset: string, weight?: number, host = 'reviews') => ({ destination: { host, subset }, weight });

const analyze = (
  virtualServices: VirtualService[],
  destinationRules: DestinationRule[] = [rule],
  jobs = [job('r1', { version: 'v1' })],
) => analyzeTraffic({ virtualServices, destinationRules, jobs, rootNamespace: 'root' });
const codes = (...args: Parameters<typeof analyze>) => analyze(...args).map(({ code, path }) => `${code} ${path}`);

t.test('an upstream that no job serves is told, with the one that was meant', async t => {
  const caller = (...upstreams: unknown[]) =>
    decodeDocument(
      { apiVersion: 'mesolite/v1', kind: 'Job', metadata: { name: 'caller' }, spec: { command: ['x'], upstreams } },
      'job',
    ) as Job;
  const of = (caller: Job) => analyze([], [], [caller, job('r1')]);
  t.same(of(caller('reviews', 'web.frameworks')), []);
  t.match(of(caller('reviews', 'reviws')), [
    {
      code: 'NO_SUCH_SERVICE',
      document: 'Job default/caller',
      path: 'spec.upstreams[1]',
      fix: 'did you mean reviews.default? Or apply the job',
    },
  ]);
});

t.test('a route to what is there is not spoken of', async t => {
  t.same(codes([route('reviews', to('v1'))]), []);
  t.same(codes([route('reviews.default.svc.cluster.local', to('v1', 100), to('v2', 0))]), [], 'no weight, no calls');
});

t.test('hosts, subsets and endpoints that are not there are told', async t => {
  t.same(codes([route('reviewz', to('v1'))]), ['NO_SUCH_SERVICE spec.hosts[0]']);
  t.same(codes([route('reviews', to('v1', 1, 'other'), to('v1', 1))]), [
    'NO_SUCH_SERVICE spec.http[0].route[0].destination.host',
  ]);
  t.same(codes([route('reviews', to('v9'))]), ['NO_SUCH_SUBSET spec.http[0].route[0].destination.subset']);
  t.match(analyze([route('reviews', to('v1', 90), to('v2', 10))]), [
    {
      code: 'SUBSET_WITHOUT_ENDPOINTS',
      document: 'VirtualService default/route',
      path: 'spec.http[0].route[1].destination.subset',
      reason: 'no job that serves reviews.default has version=v2: such calls get 503',
    },
  ]);
  const other = document('DestinationRule', 'x', { host: 'x' }) as DestinationRule;
  t.same(codes([], [other]), ['NO_SUCH_SERVICE spec.host']);
  const wild = document('DestinationRule', 'x', { host: '*.default.mesh' }) as DestinationRule;
  t.same(codes([], [wild]), []);
});

t.test('without any job nothing is said of services', async t => {
  t.same(codes([route('reviewz', to('v9'))], [rule], []), ['NO_SUCH_SUBSET spec.http[0].route[0].destination.subset']);
});

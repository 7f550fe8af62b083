/** What the choice of a route and a rate limit's bucket cost, beside a bare look into a map. `npm run bench:routes`. */
import { LRUCache } from 'lru-cache';
import { TokenBucket } from '../../src/base/token-bucket.ts';
import { decodeDocument } from '../../src/model/document.ts';
import { compileRegex } from '../../src/traffic/regex.ts';
import { drawDestination } from '../../src/traffic/route-action.ts';
import type { RouteRequest } from '../../src/traffic/route-match.ts';
import { chooseRoute, compileRoutes } from '../../src/traffic/service-routes.ts';
import { printRows, type Row } from './table.ts';

const rounds = 5;
const choices = 200_000;
const caller = { namespace: 'default', serviceAccount: 'client', labels: {} };
const headers: Readonly<Record<string, string>> = { 'end-user': 'jason' };
const request: RouteRequest = {
  method: 'GET',
  authority: 'reviews',
  port: 80,
  path: '/reviews/17',
  query: '?full=1',
  header: name => headers[name.length === 8 ? 'end-user' : ''],
};

/** Nanoseconds for one of them: the median of the rounds. */
function nanoseconds(work: () => unknown): number {
  let done = 0;
  const times = Array.from({ length: rounds + 1 }, () => {
    const start = process.hrtime.bigint();
    for (let i = 0; i < choices; i++) if (work()) done++;
    return Number(process.hrtime.bigint() - start) / choices;
  });
  if (done === 0) throw new Error('nothing was found');
  return times.slice(1).sort((a, b) => a - b)[rounds >> 1] ?? 0;
}

function routesOf(http: readonly object[]) {
  const document = decodeDocument(
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'VirtualService',
      metadata: { name: 'v' },
      spec: { hosts: ['reviews'], http },
    },
    'bench',
  );
  const documents = document.kind === 'VirtualService' ? [document] : [];
  const routes = compileRoutes(documents, compileRegex).routesOf('reviews.default', caller);
  if (routes === undefined) throw new TypeError('no routes');
  return routes;
}

const route = [
  { destination: { host: 'reviews', subset: 'v1' }, weight: 80 },
  { destination: { host: 'reviews', subset: 'v2' }, weight: 20 },
];
const misses = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ match: [{ uri: { prefix: `/other-${i}/` } }], route }));
const cases: readonly (readonly [string, readonly object[]])[] = [
  ['80/20, no match', [{ route }]],
  ['10 paths, the last', [...misses(9), { match: [{ uri: { prefix: '/reviews' } }], route }]],
  ['256 paths, the last', [...misses(255), { match: [{ uri: { prefix: '/reviews' } }], route }]],
  [
    'a header and a method',
    [{ match: [{ headers: { 'end-user': { exact: 'jason' } }, method: { exact: 'GET' } }], route }],
  ],
  ['an expression', [{ match: [{ uri: { regex: '/reviews/[0-9]+' } }], route }]],
];

const map = new Map(Array.from({ length: 1024 }, (_, i) => [`GET reviews /reviews/${i}`, i]));
let at = 0;
const peerValue = nanoseconds(() => map.get(`GET reviews /reviews/${at++ & 1023}`));
const rows: Row[] = [];
function add(name: string, value: number, goal = 5_000): void {
  rows.push({
    case: name,
    value,
    unit: 'ns',
    peer: 'a verdict from a map of 1024',
    peerValue,
    ratio: peerValue / value,
    goal: `<= ${goal} ns`,
    met: value <= goal,
  });
}
for (const [name, http] of cases) {
  const routes = routesOf(http);
  add(
    `route: ${name}`,
    nanoseconds(() => {
      const action = chooseRoute(routes, request)?.route.action;
      return action?.kind === 'forward' && drawDestination(action, Math.random);
    }),
    Math.max(5_000, http.length * 150),
  );
}
const rate = { perSecond: 1e9, burst: 1e9 };
const bucket = new TokenBucket(rate, 0);
let now = 0;
add(
  'limit per workload or principal',
  nanoseconds(() => bucket.take(1, now++)),
);
const buckets = new LRUCache<string, TokenBucket>({ max: 16_384 });
for (let i = 0; i < 16_384; i++) buckets.set(`default/l web-1 /reviews/${i}`, new TokenBucket(rate, 0));
add(
  'limit per path or header, 16384 of them',
  nanoseconds(() => buckets.get(`default/l web-1 /reviews/${now++ & 16_383}`)?.take(1, now)),
);
printRows(rows, process.argv.includes('--json'));

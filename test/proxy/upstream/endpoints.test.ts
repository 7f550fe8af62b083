import t from 'tap';
import { Cell } from '../../../src/base/cell.ts';
import { secondMs } from '../../../src/base/clock.ts';
import { silentLog } from '../../../src/base/log.ts';
import { seededRandom } from '../../../src/base/random.ts';
import type { Endpoint, ServiceDocument } from '../../../src/model/service.ts';
import { Deadlines } from '../../../src/proxy/deadlines.ts';
import { Services } from '../../../src/proxy/egress/services.ts';
import type { PoolAddress } from '../../../src/proxy/upstream/endpoints.ts';
import { ConnectionBudget, Pool } from '../../../src/proxy/upstream/pool.ts';
import { Exchange } from '../../../src/proxy/wire/exchange.ts';
import type { LocalWorkload } from '../../../src/proxy/workload.ts';
import { noDestinations } from '../../../src/traffic/destinations.ts';
import { destinationsOf } from '../../fixtures/destination-rules.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';
import { Mesh } from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();
const client = mesh.workload('client', { upstreams: ['web.default'] });

const endpoint = (id: number, more: Partial<Endpoint> = {}): Endpoint => ({
  task: `web-${id}`,
  node: `node-${id}`,
  address: `10.0.0.${id}`,
  port: 15_008,
  serverName: `${id}.web.default.mesh`,
  weight: 100,
  labelSet: id % 2,
  ...more,
});

const document = (...endpoints: Endpoint[]): ServiceDocument => ({
  name: 'web',
  namespace: 'default',
  protocol: 'http',
  spiffeId: 'spiffe://edge.local/ns/default/sa/web',
  endpoints,
  labelSets: [{ version: 'even' }, { version: 'odd' }],
});

interface Asked {
  readonly hash?: number;
  readonly caller?: LocalWorkload;
  readonly tried?: readonly Pool[];
}

/** The services of a node whose connections go nowhere; `made` are its pools. */
function node(...endpoints: Endpoint[]) {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock);
  const documents = new Cell<ReadonlyMap<string, ServiceDocument>>(new Map([['web.default', document(...endpoints)]]));
  const destinations = new Cell(noDestinations);
  const made = new Map<Pool, PoolAddress>();
  const budget = new ConnectionBudget(100);
  let closed = 0;
  const connector = { connect: () => ({ destroy() {} }), recheck() {}, close: () => closed++ };
  const makePool = (to: PoolAddress) => {
    const pool = new Pool({ deadlines, budget, connector, load: to.load, bounds: to.bounds, onOutcome: to.onOutcome });
    made.set(pool, to);
    return pool;
  };
  const services = new Services({
    documents,
    destinations,
    deadlines,
    random: seededRandom(1),
    log: silentLog,
    makePool,
  });
  services.follow();
  const choose = (subset = '', { hash = -1, caller = client, tried = [] }: Asked = {}) => {
    const exchange = new Exchange();
    exchange.hash = hash;
    return services.endpointsOf('web.default', caller, subset)?.choose(caller, exchange, tried);
  };
  const chosen = (subset = '', hash = -1) => {
    const pool = choose(subset, { hash });
    return pool === undefined ? undefined : made.get(pool)?.endpoint.task;
  };
  const spread = (subset = '', count = 60) => [...new Set(Array.from({ length: count }, () => chosen(subset)))].sort();
  const fail = (task: string, status = 500) => {
    const [pool] = [...made].find(([, to]) => to.endpoint.task === task) ?? [];
    for (let i = 0; i < 5; i++) pool?.report(status);
  };
  const publish = (...list: Endpoint[]) => documents.set(new Map([['web.default', document(...list)]]));
  const open = () => made.size - closed;
  return { clock, services, documents, destinations, choose, chosen, spread, fail, publish, open };
}

const versions = {
  subsets: [
    { name: 'odd', labels: { version: 'odd' } },
    { name: 'even', labels: { version: 'even' }, trafficPolicy: { loadBalancer: { simple: 'ROUND_ROBIN' } } },
  ],
};

t.test('a subset has the endpoints with its labels; one that no rule has is not there', async t => {
  const { services, destinations, spread } = node(endpoint(1), endpoint(2), endpoint(3));
  t.equal(services.endpointsOf('web.default', client, 'odd'), undefined);
  destinations.set(destinationsOf('web', versions));
  t.same(spread('odd'), ['web-1', 'web-3']);
  t.same(spread('even'), ['web-2']);
  t.same(spread(), ['web-1', 'web-2', 'web-3']);
  destinations.set(noDestinations);
  t.equal(services.endpointsOf('web.default', client, 'odd'), undefined);
});

t.test('an ejected endpoint is out for 30, 60 and 90 s, and back at once when its time is over', async t => {
  const { clock, spread, fail } = node(endpoint(1), endpoint(2), endpoint(3));
  spread();
  for (const seconds of [30, 60, 90]) {
    fail('web-1');
    t.same(spread(), ['web-2', 'web-3']);
    await clock.advance((seconds - 1) * secondMs);
    t.same(spread(), ['web-2', 'web-3'], `after ${seconds - 1} s`);
    await clock.advance(secondMs);
    t.same(spread(), ['web-1', 'web-2', 'web-3'], `after ${seconds} s`);
  }
});

t.test('new settings and new documents forget neither health nor connections', async t => {
  const { choose, spread, fail, publish, destinations } = node(endpoint(1), endpoint(2), endpoint(3));
  spread();
  fail('web-1');
  const before = new Set(Array.from({ length: 60 }, () => choose()));
  destinations.set(destinationsOf('web', { trafficPolicy: { loadBalancer: { simple: 'RANDOM' } } }));
  t.same(spread(), ['web-2', 'web-3']);
  publish(endpoint(2, { weight: 50 }), endpoint(1), endpoint(3));
  t.same(spread(), ['web-2', 'web-3']);
  t.same(new Set(Array.from({ length: 60 }, () => choose())), before);
  publish(endpoint(2), endpoint(3));
  publish(endpoint(1), endpoint(2), endpoint(3));
  t.same(spread(), ['web-1', 'web-2', 'web-3'], 'what has left and come back starts anew');
});

t.test(
  'by default the last endpoint stays; where all may go, none is left; and with a threshold all are back',
  async t => {
    const all = (minHealthPercent: number) =>
      destinationsOf('web', { trafficPolicy: { outlierDetection: { maxEjectionPercent: 100, minHealthPercent } } });
    const { choose, spread, fail, destinations } = node(endpoint(1), endpoint(2));
    spread();
    for (const task of ['web-1', 'web-2']) fail(task);
    t.same(spread(), ['web-2']);
    destinations.set(all(0));
    fail('web-2');
    t.equal(choose(), undefined);
    destinations.set(all(50));
    t.same(spread(), ['web-1', 'web-2']);
  },
);

t.test('one key goes to one endpoint, also after the document came in another order', async t => {
  const hash = { trafficPolicy: { loadBalancer: { consistentHash: { httpHeaderName: 'x-user', maglev: {} } } } };
  const { chosen, publish, destinations, fail } = node(endpoint(1), endpoint(2), endpoint(3));
  destinations.set(destinationsOf('web', hash));
  const keys = Array.from({ length: 50 }, (_, i) => i * 7_919_117);
  const before = keys.map(key => chosen('', key));
  t.equal(new Set(before).size, 3);
  publish(endpoint(3), endpoint(2), endpoint(1));
  t.same(
    keys.map(key => chosen('', key)),
    before,
  );
  fail('web-2');
  for (const [i, key] of keys.entries()) {
    if (before[i] === 'web-2') t.not(chosen('', key), 'web-2');
    else t.equal(chosen('', key), before[i]);
  }
});

t.test('an endpoint that joins others warms up', async t => {
  const warmup = { trafficPolicy: { loadBalancer: { simple: 'ROUND_ROBIN', warmup: { duration: '60s' } } } };
  const { clock, chosen, publish, destinations } = node(endpoint(1));
  destinations.set(destinationsOf('web', warmup));
  chosen();
  await clock.advance(100 * secondMs);
  publish(endpoint(1), endpoint(2));
  const shareOfNew = () => Array.from({ length: 220 }, () => chosen()).filter(task => task === 'web-2').length / 220;
  t.ok(Math.abs(shareOfNew() - 1 / 11) < 0.02, 'a tenth of its weight');
  await clock.advance(30 * secondMs);
  t.ok(Math.abs(shareOfNew() - 1 / 3) < 0.02, 'half of it');
  await clock.advance(30 * secondMs);
  t.ok(Math.abs(shareOfNew() - 1 / 2) < 0.02, 'all of it');
});

t.test('callers of another namespace have settings and health of their own', async t => {
  const other = { ...client, task: 'other-1', identity: { ...client.identity, namespace: 'other' } };
  const { choose, services, spread, fail, destinations } = node(endpoint(1), endpoint(2));
  destinations.set(destinationsOf('web', { exportTo: ['.'], ...versions }));
  t.ok(services.endpointsOf('web.default', client, 'odd'));
  t.equal(services.endpointsOf('web.default', other, 'odd'), undefined);
  spread();
  fail('web-1');
  const seen = new Set(Array.from({ length: 40 }, () => choose('', { caller: other })));
  t.equal(seen.size, 2);
});

t.test('no more retries than the budget are under way at a time', async t => {
  const { services, destinations } = node(endpoint(1));
  destinations.set(destinationsOf('web', { trafficPolicy: { connectionPool: { http: { maxRetries: 2 } } } }));
  const endpoints = services.endpointsOf('web.default', client, '');
  t.same([endpoints?.beginRetry(), endpoints?.beginRetry(), endpoints?.beginRetry()], [true, true, false]);
  endpoints?.endRetry();
  t.equal(endpoints?.beginRetry(), true);
});

t.test('documents that come often do not keep an ejected endpoint out', async t => {
  const { clock, spread, fail, publish } = node(endpoint(1), endpoint(2), endpoint(3));
  spread();
  fail('web-1');
  for (let seconds = 0; seconds < 30; seconds += 5) {
    t.same(spread(), ['web-2', 'web-3'], `after ${seconds} s`);
    await clock.advance(5 * secondMs);
    publish(endpoint(1), endpoint(2, { weight: 50 + seconds }), endpoint(3));
  }
  t.same(spread(), ['web-1', 'web-2', 'web-3']);
});

t.test('an ejected endpoint is used when all others have left', async t => {
  const { spread, fail, publish } = node(endpoint(1), endpoint(2), endpoint(3));
  spread();
  fail('web-1');
  publish(endpoint(1));
  t.same(spread(), ['web-1']);
});

t.test('what has been tried is left out while there is another, whatever the way of balancing', async t => {
  const policies = [
    {},
    { loadBalancer: { simple: 'ROUND_ROBIN' } },
    { loadBalancer: { simple: 'RANDOM' } },
    { loadBalancer: { consistentHash: { httpHeaderName: 'x-user' } } },
    { loadBalancer: { consistentHash: { httpHeaderName: 'x-user', maglev: {} } } },
  ];
  for (const trafficPolicy of policies) {
    const { choose, destinations } = node(...[1, 2, 3, 4].map(id => endpoint(id, { weight: 10 * id })));
    destinations.set(destinationsOf('web', { trafficPolicy }));
    for (let hash = 0; hash < 50; hash++) {
      const tried: Pool[] = [];
      for (let pool = choose('', { hash, tried }); pool !== undefined; pool = choose('', { hash, tried })) {
        t.notOk(tried.includes(pool));
        tried.push(pool);
      }
      t.equal(tried.length, 4);
    }
  }
});

t.test('a key whose endpoint has been tried goes where it goes when that endpoint is ejected', async t => {
  const hash = { trafficPolicy: { loadBalancer: { consistentHash: { httpHeaderName: 'x-user' } } } };
  const { choose, chosen, destinations, fail } = node(endpoint(1), endpoint(2), endpoint(3));
  destinations.set(destinationsOf('web', hash));
  const key = 7_919_117;
  const first = choose('', { hash: key });
  const second = choose('', { hash: key, tried: first === undefined ? [] : [first] });
  t.not(second, first);
  t.equal(choose('', { hash: key }), first, 'only that request goes elsewhere');
  fail(chosen('', key) ?? '');
  t.equal(choose('', { hash: key }), second);
});

t.test('an endpoint that joins after a long silence warms up too', async t => {
  const warmup = { trafficPolicy: { loadBalancer: { simple: 'ROUND_ROBIN', warmup: { duration: '60s' } } } };
  const { clock, chosen, publish, destinations } = node(endpoint(1));
  destinations.set(destinationsOf('web', warmup));
  chosen();
  await clock.advance(3600 * secondMs);
  publish(endpoint(1), endpoint(2));
  const tasks = Array.from({ length: 110 }, () => chosen());
  t.ok(tasks.filter(task => task === 'web-2').length < 15);
});

t.test('a request that outlives its service opens nothing more', async t => {
  const { services, documents, choose, open } = node(endpoint(1), endpoint(2));
  const endpoints = services.endpointsOf('web.default', client, '');
  choose();
  t.equal(open(), 1);
  documents.set(new Map());
  t.equal(open(), 0);
  t.equal(endpoints?.choose(client, new Exchange(), []), undefined);
  t.equal(open(), 0);
});

t.test('connections go with the protocol that they were opened for', async t => {
  const { services, documents, choose } = node(endpoint(1));
  const before = choose();
  documents.set(new Map([['web.default', { ...document(endpoint(1)), protocol: 'tcp' }]]));
  t.equal(services.endpointsOf('web.default', client, '')?.protocol, 'tcp');
  t.not(choose(), before);
});

import { once } from 'node:events';
import { Agent, createServer, type IncomingHttpHeaders, request, type ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import { type Clock, secondMs } from '../../src/base/clock.ts';
import { systemClock } from '../../src/device/clock.ts';
import { destinationsOf } from '../fixtures/destination-rules.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { Mesh, routesOf, serviceOf, startNode } from '../fixtures/proxy-node.ts';

const mesh = new Mesh();

type Ailment = 'none' | 'errors' | 'hangs' | 'resets' | 'dies' | 'vanishes';

/** One of three endpoints: an application behind a proxy of its own. */
interface Served {
  readonly port: number;
  /** Requests that have reached the application. */
  asked: number;
  suffer(ailment: Ailment): Promise<void>;
}

async function serve(t: Test, name: string): Promise<Served> {
  let ailment: Ailment = 'none';
  const respond = (response: ServerResponse) => {
    served.asked++;
    if (ailment === 'resets') response.destroy();
    else if (ailment !== 'hangs') response.writeHead(ailment === 'errors' ? 503 : 200).end(name);
  };
  const server = createServer((_, response) => respond(response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  t.teardown(close);
  const address = server.address();
  const appPort = typeof address === 'object' && address !== null ? address.port : 0;
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort })] });
  const served: Served = {
    port: node.running.meshPort,
    asked: 0,
    async suffer(next) {
      ailment = next;
      if (next === 'dies') close();
      if (next === 'vanishes') await node.stop();
    },
  };
  return served;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const retried = {
  hosts: ['web'],
  http: [
    {
      retries: { attempts: 3, perTryTimeout: '1s', retryOn: '5xx,reset,connect-failure' },
      route: [{ destination: { host: 'web' } }],
    },
  ],
};

/** Three endpoints and a node that calls them. */
async function stage(t: Test, { policy = {}, routes = [retried] as object[], clock = systemClock as Clock } = {}) {
  const endpoints = [await serve(t, 'one'), await serve(t, 'two'), await serve(t, 'three')];
  const client = mesh.workload('client', { upstreams: ['web.default'] });
  const services = [
    serviceOf(
      'web',
      endpoints.map(({ port }) => port),
    ),
  ];
  const node = await startNode(t, { workloads: [client], services, routes: routesOf(...routes), clock });
  node.destinations.set(destinationsOf('web', { trafficPolicy: policy }));
  const agent = new Agent({ keepAlive: true, maxSockets: 200 });
  t.teardown(() => agent.destroy());
  const headers = {
    host: 'web',
    'proxy-authorization': `Basic ${Buffer.from('client-1:secret-of-client').toString('base64')}`,
  };
  const call = (keep = true) =>
    new Promise<Answer>((resolve, reject) => {
      const options = {
        port: node.running.outboundPort,
        path: 'http://web/',
        headers,
        ...(keep ? { agent } : { agent: false }),
      };
      const outgoing = request(options, async response => {
        let body = '';
        for await (const piece of response) body += piece;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
      outgoing.on('error', reject);
      outgoing.end();
    });
  /** So many calls, never more than `concurrency` at a time. */
  async function calls(count: number, concurrency: number): Promise<Answer[]> {
    const answers: Answer[] = [];
    let started = 0;
    const work = async () => {
      while (started < count) {
        started++;
        answers.push(await call());
      }
    };
    await Promise.all(Array.from({ length: concurrency }, work));
    return answers;
  }
  return { endpoints, node, call, calls };
}

for (const ailment of ['errors', 'hangs', 'resets', 'dies', 'vanishes'] as const) {
  t.test(`one of three endpoints ${ailment}: next to no call fails, and it is left out`, async t => {
    const { endpoints, calls } = await stage(t, { policy: { retryBudget: { percent: 20, minRetryConcurrency: 8 } } });
    const [sick] = endpoints;
    if (sick === undefined) throw new Error('no endpoint');
    t.ok((await calls(60, 6)).every(({ status }) => status === 200));
    await sick.suffer(ailment);
    const well = sick.asked;
    const answers = await calls(1000, 6);
    const failed = answers.filter(({ status }) => status !== 200).length;
    t.ok(failed <= 1, `${failed} of 1000 failed`);
    // a host that hangs is busy, and so seldom chosen: fast calls are over before five in a row have timed out
    while (ailment === 'hangs' && sick.asked < well + 5) await calls(50, 6);
    const before = sick.asked;
    t.notOk((await calls(200, 6)).some(({ status, body }) => status !== 200 || body === 'one'));
    t.equal(sick.asked, before, 'it was ejected');
  });
}

t.test('when all endpoints fail, there are at most 1.2 attempts of a request', async t => {
  const { endpoints, calls } = await stage(t, { policy: { retryBudget: { percent: 20, minRetryConcurrency: 0 } } });
  for (const endpoint of endpoints) await endpoint.suffer('errors');
  const answers = await calls(2000, 100);
  t.ok(answers.every(({ status }) => status >= 500));
  const attempts = endpoints.reduce((sum, { asked }) => sum + asked, 0);
  t.ok(attempts > 2000, `${attempts}: some are tried again`);
  t.ok(attempts <= 1.2 * 2000, `${attempts} attempts of 2000 requests`);
});

t.test('an endpoint that answers with errors is back after 30, 60 and 90 s', async t => {
  const clock = new FakeClock();
  const policy = { loadBalancer: { simple: 'ROUND_ROBIN' } };
  const { endpoints, call } = await stage(t, { policy, clock, routes: [] });
  const [sick] = endpoints;
  if (sick === undefined) throw new Error('no endpoint');
  /** Is it asked? By six calls, each over a connection of its own: the fake clock closes those that rest. */
  const isAsked = async () => {
    const before = sick.asked;
    for (let i = 0; i < 6; i++) await call(false);
    return sick.asked > before;
  };
  t.ok(await isAsked());
  for (const seconds of [30, 60, 90]) {
    await sick.suffer('errors');
    for (let i = 0; i < 15; i++) await call(false);
    t.notOk(await isAsked(), 'out after five errors in a row');
    await sick.suffer('none');
    await clock.advance((seconds - 1) * secondMs);
    t.notOk(await isAsked(), `still out after ${seconds - 1} s`);
    await clock.advance(secondMs);
    t.ok(await isAsked(), `back after ${seconds} s`);
  }
});

t.test('with all endpoints out there is no healthy upstream, unless a threshold lets them all in again', async t => {
  const outlierDetection = { maxEjectionPercent: 100, consecutive5xxErrors: 2 };
  const { endpoints, node, call, calls } = await stage(t, { policy: { outlierDetection }, routes: [] });
  for (const endpoint of endpoints) await endpoint.suffer('errors');
  await calls(20, 1);
  t.match(await call(), { status: 503, body: 'no healthy upstream' });
  t.equal(node.records.at(-1)?.flags, 'UH');
  node.destinations.set(
    destinationsOf('web', { trafficPolicy: { outlierDetection: { ...outlierDetection, minHealthPercent: 50 } } }),
  );
  for (const endpoint of endpoints) await endpoint.suffer('none');
  t.equal((await call()).status, 200);
});

t.test('more than a service may have at a time is answered at once', async t => {
  const connectionPool = { tcp: { maxConnections: 1 }, http: { http1MaxPendingRequests: 1 } };
  const { endpoints, node, call } = await stage(t, { policy: { connectionPool }, routes: [] });
  const single = serviceOf('web', [endpoints[0]?.port ?? 0]);
  node.services.set(new Map([['web.default', single]]));
  await endpoints[0]?.suffer('hangs');
  const all = [call(), call(), call()];
  const refused = await Promise.race(all);
  t.same([refused.status, refused.headers['x-envoy-overloaded']], [503, 'true']);
  await endpoints[0]?.suffer('dies');
  await Promise.all(all);
  await node.recorded(3);
  t.equal(node.records.filter(({ flags }) => flags === 'UO').length, 1);
});

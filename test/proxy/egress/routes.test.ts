import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import type { Clock } from '../../../src/base/clock.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';
import { Mesh, RawClient, rawOrigin, routesOf, serviceOf, startNode } from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();
const credential = `Proxy-Authorization: Basic ${Buffer.from('client-1:secret-of-client').toString('base64')}\r\n`;

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** An application that remembers what it was asked; `answer` says its name by default. */
async function application(t: Test, name: string, answer?: (response: ServerResponse, seen: readonly Seen[]) => void) {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (piece: string) => {
      body += piece;
    });
    request.on('end', () => {
      seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body });
      if (answer === undefined) response.setHeader('x-app', name).end(name);
      else answer(response, seen);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.closeAllConnections());
  t.teardown(() => server.close());
  const address = server.address();
  return { seen, port: typeof address === 'object' && address !== null ? address.port : 0 };
}

type App = Awaited<ReturnType<typeof application>>;

/** Node A runs the caller of `web` with routes; node B the services `web` and `other`. */
async function meshOf(t: Test, http: readonly object[], apps: { web?: App; other?: App; clock?: Clock } = {}) {
  const web = apps.web ?? (await application(t, 'web'));
  const other = apps.other ?? (await application(t, 'other'));
  const b = await startNode(t, {
    workloads: [mesh.workload('web', { appPort: web.port }), mesh.workload('other', { appPort: other.port })],
  });
  const a = await startNode(t, {
    ...(apps.clock !== undefined && { clock: apps.clock }),
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [serviceOf('web', [b.running.meshPort]), serviceOf('other', [b.running.meshPort])],
    routes: routesOf({ hosts: ['web'], http }),
  });
  const task = await RawClient.plain(t, a.running.outboundPort);
  const request = (path: string, lines = '', method = 'GET', body = '') =>
    `${method} http://web${path} HTTP/1.1\r\nHost: web\r\n${credential}${lines}\r\n${body}`;
  const ask = (...parts: Parameters<typeof request>) => task.askWhole(request(...parts));
  return { a, b, web, other, task, request, ask };
}

const to = (host: string) => [{ destination: { host } }];
const bodyOf = (answer: string) => answer.slice(answer.indexOf('\r\n\r\n') + 4);

t.test('the first route that takes a request decides', async t => {
  const { ask, a } = await meshOf(t, [
    { name: 'jason', match: [{ headers: { 'End-User': { exact: 'jason' } } }], route: to('other') },
    { match: [{ uri: { prefix: '/b' } }, { uri: { regex: '/x[0-9]+' } }], route: to('other') },
    { match: [{ queryParams: { to: { exact: 'other' } } }], route: to('other.default.svc.cluster.local') },
    { match: [{ method: { exact: 'GET' } }], route: to('web') },
  ]);
  t.equal(bodyOf(await ask('/')), 'web');
  t.equal(bodyOf(await ask('/', 'end-user: jason\r\n')), 'other');
  t.equal(bodyOf(await ask('/', 'end-user: jasons\r\n')), 'web');
  t.equal(bodyOf(await ask('/bc')), 'other');
  t.equal(bodyOf(await ask('/x12')), 'other');
  t.equal(bodyOf(await ask('/x12y')), 'web');
  t.equal(bodyOf(await ask('/?a=1&to=other')), 'other');
  const answer = await ask('/', 'content-length: 0\r\n', 'POST');
  t.match(answer, /^HTTP\/1\.1 404 [\s\S]*no route of the VirtualService takes this request$/);
  await a.recorded(8);
  t.match(a.records.at(-1), { status: 404, flags: 'NR', rule: 'no-route', verdict: 'deny' });
  t.match(a.records[1], { rule: 'default/v0#jason', destination: 'edge.local/ns/default/sa/other', verdict: 'allow' });
  t.match(a.records[0], { rule: 'default/v0#3' });
});

t.test('routes are swapped while a connection is open, and a service without them costs nothing of it', async t => {
  const { ask, a } = await meshOf(t, [{ route: to('other') }]);
  t.equal(bodyOf(await ask('/')), 'other');
  a.routes.set(routesOf());
  t.equal(bodyOf(await ask('/')), 'web');
  await a.recorded(2);
  t.match(a.records[1], { rule: 'declared-upstream' });
  a.routes.set(routesOf({ hosts: ['web.default.mesh'], http: [{ directResponse: { status: 418 } }] }));
  t.match(await ask('/'), /^HTTP\/1\.1 418 /);
});

t.test('a path, an authority and headers are rewritten on the way, and headers of the answer', async t => {
  const { ask, web } = await meshOf(t, [
    {
      match: [{ uri: { prefix: '/old/' } }],
      rewrite: { uri: '/new/', authority: 'renamed.example' },
      route: [
        {
          destination: { host: 'web' },
          headers: {
            request: { set: { 'x-set': 'destination' }, add: { 'x-more': '2' }, remove: ['x-secret'] },
            response: { remove: ['x-app'], set: { 'x-answer': 'yes' } },
          },
        },
      ],
      headers: { request: { set: { 'x-set': 'route' } }, response: { add: { 'x-added': '1' } } },
    },
    { match: [{ uri: { exact: '/one' } }], rewrite: { uri: '/two' }, route: to('web') },
    {
      match: [{ uri: { regex: '/v[0-9]+/.*' } }],
      rewrite: { uriRegexRewrite: { match: '^/v([0-9]+)/(.*)$', rewrite: '/\\2/version/\\1' } },
      route: to('web'),
    },
    { match: [{ uri: { prefix: '/CASE' }, ignoreUriCase: true }], rewrite: { uri: '/c' }, route: to('web') },
  ]);
  const answer = await ask('/old/x?q=1', 'x-set: mine\r\nx-more: 1\r\nx-secret: s\r\n');
  t.match(answer, /x-answer: yes\r\n/);
  t.match(answer, /x-added: 1\r\n/);
  t.notMatch(answer, /x-app/i);
  const [first] = web.seen;
  t.match(first, { url: '/new/x?q=1', headers: { host: 'renamed.example', 'x-set': 'route', 'x-more': '1, 2' } });
  t.equal(first?.headers['x-secret'], undefined);
  for (const path of ['/one?a', '/v12/users/7', '/caSe/d']) await ask(path);
  t.same(
    web.seen.slice(1).map(({ url }) => url),
    ['/two?a', '/users/7/version/12', '/c/d'],
  );
});

t.test('a route may answer by itself', async t => {
  const { ask, web, a } = await meshOf(t, [
    { match: [{ uri: { prefix: '/moved' } }], redirect: { uri: '/there', redirectCode: 308 } },
    { match: [{ uri: { exact: '/away' } }], redirect: { scheme: 'https', authority: 'example.com', port: 8443 } },
    { match: [{ uri: { exact: '/secure' } }], redirect: { scheme: 'https' } },
    {
      match: [{ uri: { exact: '/down' } }],
      directResponse: { status: 503, body: { string: 'back soon – ü' } },
      headers: { response: { set: { 'retry-after': '120', 'content-type': 'text/plain; charset=utf-8' } } },
    },
    {
      match: [{ uri: { exact: '/none' } }],
      fault: { abort: { httpStatus: 304, percentage: { value: 100 } } },
      route: to('web'),
    },
    { directResponse: { status: 204, body: { string: 'HTTP/1.1 200 OK' } } },
  ]);
  t.match(await ask('/moved/a?b=1'), /^HTTP\/1\.1 308 [\s\S]*location: http:\/\/web\/there\?b=1\r\n/);
  t.match(await ask('/away'), /^HTTP\/1\.1 301 [\s\S]*location: https:\/\/example\.com:8443\/away\r\n/);
  t.match(await ask('/secure'), /location: https:\/\/web\/secure\r\n/);
  const down = await ask('/down');
  t.match(down, /^HTTP\/1\.1 503 [\s\S]*retry-after: 120\r\n/);
  t.equal(down.match(/content-type/g)?.length, 1);
  t.equal(Buffer.from(bodyOf(down), 'latin1').toString(), 'back soon – ü');
  for (const [path, status] of [
    ['/none', 304],
    ['/x', 204],
  ] as const) {
    const bare = await ask(path);
    t.match(bare, new RegExp(`^HTTP/1\\.1 ${status} `));
    t.equal(bodyOf(bare), '', 'who reads it as it must be read takes a body for another answer');
    t.notMatch(bare, /content-length/);
  }
  t.equal(web.seen.length, 0);
  await a.recorded(6);
  t.same(
    a.records.map(({ flags }) => flags),
    ['-', '-', '-', '-', 'FI', '-'],
  );
});

t.test('a delay holds a request back by the clock, with its body, and an abort answers it', async t => {
  const clock = new FakeClock();
  const { task, web, a, request } = await meshOf(
    t,
    [
      {
        match: [{ headers: { 'end-user': { exact: 'jason' } } }],
        fault: { delay: { fixedDelay: '7s', percentage: { value: 100 } } },
        timeout: '1s',
        route: to('web'),
      },
      {
        match: [{ uri: { exact: '/both' } }],
        fault: {
          delay: { fixedDelay: '2s', percentage: { value: 100 } },
          abort: { httpStatus: 555, percentage: { value: 100 } },
        },
        route: to('web'),
      },
      { fault: { abort: { httpStatus: 555, percentage: { value: 100 } } }, route: to('web') },
    ],
    { clock },
  );
  const sleepers = clock.sleepers;
  const delayed = task.ask(request('/', 'end-user: jason\r\ncontent-length: 4\r\n', 'POST'), 'web');
  await clock.untilSleeping(sleepers + 1);
  task.write('body');
  await clock.advance(6_999);
  t.equal(web.seen.length, 0);
  await clock.advance(1);
  t.match(await delayed, /^HTTP\/1\.1 200 /);
  t.match(web.seen, [{ method: 'POST', body: 'body' }]);
  const both = task.askWhole(request('/both'));
  await clock.untilSleeping(sleepers + 1);
  await clock.advance(2_000);
  t.match(await both, /^HTTP\/1\.1 555 [\s\S]*fault filter abort$/);
  t.match(await task.askWhole(request('/other')), /^HTTP\/1\.1 555 /);
  await a.recorded(3);
  t.same(
    a.records.map(({ flags, status }) => [flags, status]),
    [
      ['DI', 200],
      ['FI,DI', 555],
      ['FI', 555],
    ],
  );
  t.equal(web.seen.length, 1);
});

t.test('a client that goes away while it is held back leaves nothing behind', async t => {
  const clock = new FakeClock();
  const http = [{ fault: { delay: { fixedDelay: '7s', percentage: { value: 100 } } }, route: to('web') }];
  const { task, web, a, request } = await meshOf(t, http, { clock });
  const sleepers = clock.sleepers;
  task.write(request('/'));
  await clock.untilSleeping(sleepers + 1);
  task.socket.resetAndDestroy();
  await a.recorded(1);
  t.match(a.records[0], { flags: 'DC,DI' });
  await clock.advance(60_000);
  t.equal(web.seen.length, 0);
});

t.test('a route that takes too long is given up with 504', async t => {
  const clock = new FakeClock();
  const web = await application(t, 'web', () => {});
  const { task, a, request } = await meshOf(t, [{ timeout: '2s', route: to('web') }], { clock, web });
  const slow = task.askWhole(request('/'));
  while (web.seen.length === 0) await new Promise(resolve => setImmediate(resolve));
  await clock.advance(1_999);
  t.equal(task.received, '');
  await clock.advance(1);
  t.match(await slow, /^HTTP\/1\.1 504 [\s\S]*upstream request timeout$/);
  await a.recorded(1);
  t.match(a.records[0], { flags: 'UT', durationMs: 2_000 });
});

t.test('a response that has begun is cut off when its time is over', async t => {
  const clock = new FakeClock();
  const web = await application(t, 'web', response => {
    response.writeHead(200, { 'content-length': '10' }).write('half');
  });
  const { task, a, request } = await meshOf(t, [{ timeout: '2s', route: to('web') }], { clock, web });
  await task.ask(request('/'), 'half');
  await clock.advance(2_000);
  t.match(await task.untilClosed(), /half$/);
  await a.recorded(1);
  t.match(a.records[0], { flags: 'UT', status: 200 });
});

/** Answers with these statuses one after another, and with 200 behind the last. */
const failing =
  (...statuses: number[]) =>
  (response: ServerResponse, seen: readonly Seen[]) => {
    response.writeHead(statuses[seen.length - 1] ?? 200, { 'content-length': 6 }).end('answer');
  };

t.test('what a policy names is tried again, with its body, after a back-off', async t => {
  const web = await application(t, 'web', failing(503, 502));
  const retries = { attempts: 2, retryOn: '5xx', perTryTimeout: '10s' };
  const { ask, a } = await meshOf(t, [{ retries, route: to('web') }], { web });
  t.match(await ask('/', 'content-length: 4\r\n', 'POST', 'body'), /^HTTP\/1\.1 200 /);
  t.same(
    web.seen.map(({ body }) => body),
    ['body', 'body', 'body'],
  );
  await a.recorded(1);
  t.match(a.records, [{ status: 200, flags: '-' }]);
});

t.test('the last response is passed on when no try is left, and what is not named at once', async t => {
  const web = await application(t, 'web', failing(503, 503, 503, 500, 404));
  const retries = { attempts: 2, retryOn: 'gateway-error,retriable-4xx,409' };
  const { ask, a } = await meshOf(t, [{ retries, route: to('web') }], { web });
  t.match(await ask('/'), /^HTTP\/1\.1 503 /);
  t.match(await ask('/'), /^HTTP\/1\.1 500 /);
  t.match(await ask('/'), /^HTTP\/1\.1 404 /);
  t.equal(web.seen.length, 5);
  await a.recorded(3);
  t.same(
    a.records.map(({ flags }) => flags),
    ['URX', '-', '-'],
  );
});

t.test('a host that is overloaded or limits its callers is left alone', async t => {
  const web = await application(t, 'web', (response, seen) => {
    const name = seen.length === 1 ? 'x-envoy-overloaded' : 'x-envoy-ratelimited';
    response.writeHead(503, { [name]: 'true', 'content-length': 6 }).end('enough');
  });
  const { ask } = await meshOf(t, [{ retries: { retryOn: '5xx' }, route: to('web') }], { web });
  await ask('/');
  await ask('/');
  t.equal(web.seen.length, 2);
});

t.test('by default only what never reached an application is tried again', async t => {
  const web = await application(t, 'web', failing(503, 503));
  const { ask } = await meshOf(t, [{ route: to('web') }], { web });
  t.match(await ask('/'), /^HTTP\/1\.1 503 /);
  t.equal(web.seen.length, 1);
});

t.test('a try that takes too long makes room for another within the time of the route', async t => {
  const clock = new FakeClock();
  const web = await application(t, 'web', (response, seen) => {
    if (seen.length === 3) response.end('third');
  });
  const retries = { attempts: 3, retryOn: '5xx', perTryTimeout: '1s' };
  const { task, request } = await meshOf(t, [{ retries, timeout: '5s', route: to('web') }], { clock, web });
  const answer = task.ask(request('/'), 'third');
  const until = async (count: number) => {
    while (web.seen.length < count) {
      await clock.advance(10);
      await new Promise(resolve => setImmediate(resolve));
    }
  };
  await until(1);
  await clock.advance(1_000);
  await until(2);
  await clock.advance(1_000);
  t.match(await Promise.race([answer, until(3).then(() => answer)]), /^HTTP\/1\.1 200 /);
});

t.test('a body that is longer than what is kept is sent once', async t => {
  const web = await application(t, 'web', failing(503));
  const { task, request } = await meshOf(t, [{ retries: { retryOn: '5xx' }, route: to('web') }], { web });
  const length = 300_000;
  const answer = task.ask(request('/', `content-length: ${length}\r\n`, 'POST'), 'answer');
  for (let sent = 0; sent < length; sent += 30_000) task.write('x'.repeat(30_000));
  t.match(await answer, /^HTTP\/1\.1 503 /);
  t.equal(web.seen.length, 1);
});

t.test('a broken connection is tried again where a policy says so', async t => {
  let connections = 0;
  const origin = await rawOrigin(t, (socket, text) => {
    if (!text.includes('\r\n\r\n')) return;
    if (++connections < 3) socket.destroy();
    else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
  });
  const b = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  const a = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [serviceOf('web', [b.running.meshPort])],
    routes: routesOf({ hosts: ['web'], http: [{ retries: { retryOn: 'gateway-error' }, route: to('web') }] }),
  });
  const task = await RawClient.plain(t, a.running.outboundPort);
  const request = `POST http://web/ HTTP/1.1\r\nHost: web\r\n${credential}content-length: 0\r\n\r\n`;
  t.match(await task.askWhole(request), /^HTTP\/1\.1 200 /);
});

t.test('a copy of each request goes to a mirror, whose answer nobody sees', async t => {
  let mirrored = () => {};
  const arrived = new Promise<void>(resolve => {
    mirrored = resolve;
  });
  const other = await application(t, 'other', response => {
    response.writeHead(500).end('nobody sees this');
    mirrored();
  });
  const { task, request, web } = await meshOf(t, [{ mirror: { host: 'other' }, route: to('web') }], { other });
  const answer = task.ask(request('/x', 'content-length: 10\r\n', 'POST'), 'web');
  task.write('01234');
  task.write('56789');
  t.match(await answer, /^HTTP\/1\.1 200 /);
  await arrived;
  t.match(web.seen, [{ url: '/x', body: '0123456789', headers: { host: 'web' } }]);
  t.match(other.seen, [{ url: '/x', body: '0123456789', headers: { host: 'web-shadow' } }]);
  t.equal(other.seen[0]?.headers['x-request-id'], web.seen[0]?.headers['x-request-id']);
});

t.test('a page of an allowed origin may ask and read; a preflight request is answered here', async t => {
  const corsPolicy = {
    allowOrigins: [{ exact: 'https://shop.example' }, { regex: 'https://[a-z]+\\.test' }],
    allowMethods: ['GET', 'PUT'],
    allowHeaders: ['x-token'],
    exposeHeaders: ['x-app'],
    maxAge: '24h',
    allowCredentials: true,
  };
  const { ask, web } = await meshOf(t, [{ corsPolicy, route: to('web') }]);
  const preflight = 'access-control-request-method: PUT\r\n';
  const allowed = await ask('/', `origin: https://shop.example\r\n${preflight}`, 'OPTIONS');
  t.match(allowed, /^HTTP\/1\.1 200 /);
  for (const line of [
    'access-control-allow-origin: https://shop.example',
    'access-control-allow-credentials: true',
    'access-control-allow-methods: GET,PUT',
    'access-control-allow-headers: x-token',
    'access-control-max-age: 86400',
  ]) {
    t.ok(allowed.includes(`\r\n${line}\r\n`), line);
  }
  t.equal(web.seen.length, 0);
  const read = await ask('/', 'origin: https://my.test\r\n');
  t.match(read, /\r\naccess-control-allow-origin: https:\/\/my\.test\r\n/);
  t.match(read, /\r\naccess-control-expose-headers: x-app\r\n/);
  t.notMatch(await ask('/', 'origin: https://evil.example\r\n'), /access-control/);
  t.notMatch(await ask('/', `origin: https://evil.example\r\n${preflight}`, 'OPTIONS'), /access-control/);
  t.equal(web.seen.length, 3, 'a preflight request of another origin is passed on as Envoy does');
});

t.test('a page of an allowed origin may read the answers of the proxy itself too', async t => {
  const corsPolicy = { allowOrigins: [{ exact: 'https://shop.example' }], exposeHeaders: ['x-why'] };
  const headers = { response: { set: { 'x-why': 'route' } } };
  const closed = await rawOrigin(t, socket => socket.destroy());
  await closed.close();
  const web = { seen: [], port: closed.port };
  const { ask } = await meshOf(
    t,
    [
      {
        match: [{ uri: { exact: '/aborted' } }],
        corsPolicy,
        fault: { abort: { httpStatus: 555, percentage: { value: 100 } } },
        route: to('web'),
      },
      { match: [{ uri: { exact: '/direct' } }], corsPolicy, headers, directResponse: { status: 418 } },
      { match: [{ uri: { exact: '/moved' } }], corsPolicy, headers, redirect: { uri: '/there' } },
      { match: [{ uri: { exact: '/unknown' } }], corsPolicy, route: to('nowhere') },
      {
        match: [{ uri: { exact: '/late' } }],
        corsPolicy,
        fault: {
          delay: { fixedDelay: '1ms', percentage: { value: 100 } },
          abort: { httpStatus: 555, percentage: { value: 100 } },
        },
        route: to('web'),
      },
      { corsPolicy, headers, route: to('web') },
    ],
    { web },
  );
  const origin = 'origin: https://shop.example\r\n';
  for (const [path, status] of [
    ['/aborted', 555],
    ['/direct', 418],
    ['/moved', 301],
    ['/unknown', 503],
    ['/late', 555],
    ['/down', 503],
  ] as const) {
    const answer = await ask(path, origin);
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), path);
    t.equal(answer.match(/access-control-allow-origin: https:\/\/shop\.example\r\n/g)?.length, 1, path);
    t.match(answer, /access-control-expose-headers: x-why\r\n/, path);
    t.notMatch(await ask(path, 'origin: https://evil.example\r\n'), /access-control/, path);
  }
  t.match(await ask('/down'), /^HTTP\/1\.1 503 [\s\S]*x-why: route\r\n/, 'and what else the route says of answers');
});

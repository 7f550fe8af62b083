import { once } from 'node:events';
import { type ClientDuplexStream, type StatusObject, status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { EchoClient, startEcho } from '../../fixtures/grpc-echo.ts';
import { byTask, Mesh, policyOf, serviceOf, startNode } from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();

/** By CONNECT, as gRPC's clients do when `http_proxy` is set, or with HTTP/2 to the proxy's port itself. */
type Way = 'connect' | 'straight';

/** Node A runs the caller, node B the gRPC service. */
async function through(t: Test, way: Way = 'connect') {
  const echo = await startEcho(t);
  const web = mesh.workload('web', { appPort: echo.port, protocol: 'grpc' });
  const b = await startNode(t, { workloads: [web] });
  const a = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [serviceOf('web', [b.running.meshPort])],
  });
  const client = clientOf(t, way, a.running.outboundPort);
  return { echo, a, b, client };
}

function clientOf(t: Test, way: Way, outboundPort: number): EchoClient {
  const proxy = `127.0.0.1:${outboundPort}`;
  if (way === 'connect') {
    process.env.http_proxy = `http://client-1:secret-of-client@${proxy}`;
    return new EchoClient(t, 'web.default.mesh:80', {});
  }
  const fields = { 'proxy-authorization': `Basic ${Buffer.from('client-1:secret-of-client').toString('base64')}` };
  return new EchoClient(
    t,
    proxy,
    { 'grpc.default_authority': 'web.default.mesh', 'grpc.enable_http_proxy': 0 },
    fields,
  );
}

/** How a call ends; a failure is no surprise. */
function statusOf(call: ClientDuplexStream<Buffer, Buffer>): Promise<StatusObject> {
  call.on('error', () => {});
  return new Promise(resolve => call.on('status', resolve));
}

t.test('a unary call goes through both proxies with its metadata and trailers', async t => {
  for (const way of ['connect', 'straight'] as const) {
    const { client, echo, a, b } = await through(t, way);
    const { code, message, initial, trailers } = await client.call('Unary', 'hello');
    t.same({ code, message }, { code: status.OK, message: 'hello' });
    t.same(initial.get('hello'), ['there']);
    t.same(trailers.get('sum'), ['5']);
    t.same(initial.get('content-length'), []);
    t.same(trailers.get('raw-bin'), [Buffer.from([0, 255, 13, 10])]);
    t.match(
      echo.seen.metadata?.get('x-forwarded-client-cert')[0],
      /URI=spiffe:\/\/edge.local\/ns\/default\/sa\/client$/,
    );
    t.same(echo.seen.metadata?.get('proxy-authorization'), []);
    await Promise.all([a.recorded(1), b.recorded(1)]);
    t.match(b.records[0], {
      method: 'POST',
      path: '/test.Echo/Unary',
      host: 'web.default.mesh',
      status: 200,
      flags: '-',
    });
    t.match(a.records[0], { direction: 'outbound', host: /^web.default.mesh/, status: 200, flags: '-' });
  }
});

t.test("a call's failure arrives as the service tells it", async t => {
  const { client } = await through(t);
  const { code, details, trailers } = await client.call('Unary', 'fail');
  t.same({ code, details }, { code: status.FAILED_PRECONDITION, details: '100 % wrong: é' });
  t.same(trailers.get('sum'), ['4']);
  t.match(await client.call('Missing', ''), { code: status.UNIMPLEMENTED });
});

t.test('streams go either way, and both ways at once', async t => {
  for (const way of ['connect', 'straight'] as const) {
    const { client } = await through(t, way);
    t.same(await client.split('abc'), ['a', 'b', 'c']);
    const pieces = Array.from({ length: 40 }, (_, i) => Buffer.alloc(20_000, i));
    t.ok((await client.join(pieces)).equals(Buffer.concat(pieces)));
    const chat = client.chat();
    for (const word of ['one', 'two', 'three']) {
      chat.write(Buffer.from(word));
      const [answer] = await once(chat, 'data');
      t.equal(String(answer), `re: ${word}`, 'an answer comes while the call is open');
    }
    chat.end();
    t.match(await statusOf(chat), { code: status.OK });
  }
});

t.test('a service that ends a call while its caller still speaks is heard', async t => {
  const { client } = await through(t);
  const chat = client.chat();
  const ending = statusOf(chat);
  chat.write(Buffer.from('stop'));
  const { code, details } = await ending;
  t.same({ code, details }, { code: status.ABORTED, details: 'asked to stop' });
  t.match(await client.call('Unary', 'on'), { message: 'on' });
});

t.test('a call that is taken back, or whose deadline passes, is taken back from the service', async t => {
  const { client, echo, b } = await through(t);
  const chat = client.chat();
  chat.on('error', () => {});
  chat.write(Buffer.from('one'));
  await once(chat, 'data');
  chat.cancel();
  await echo.cancelled(1);
  t.match(await client.call('Hang', '', { deadlineMs: 200 }), { code: status.DEADLINE_EXCEEDED });
  await echo.cancelled(2);
  await b.recorded(2);
  t.match(b.records[0], { path: '/test.Echo/Chat', flags: 'DC' });
});

t.test('a service that dies in a call breaks the call off, and the next is refused as unavailable', async t => {
  const { client, echo } = await through(t);
  const chat = client.chat();
  const ending = statusOf(chat);
  chat.write(Buffer.from('one'));
  await once(chat, 'data');
  echo.kill();
  const { code } = await ending;
  t.not(code, status.OK);
  t.match(await client.call('Unary', 'x'), { code: status.UNAVAILABLE, details: /connection failure/ });
});

t.test('policy is asked for each call of a connection, and says no as gRPC does', async t => {
  const { client, b } = await through(t);
  b.policy.set(
    policyOf('allow', { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/test.Echo/Split'] } }] }] }),
  );
  t.match(await client.call('Unary', 'a'), { code: status.OK });
  await t.rejects(client.split('abc'), { code: status.PERMISSION_DENIED, details: 'RBAC: access denied' });
  t.match(await client.call('Unary', 'b'), { code: status.OK });
  t.match(
    b.records.map(({ path, verdict, status }) => ({ path, verdict, status })),
    [
      { path: '/test.Echo/Unary', verdict: 'allow', status: 200 },
      { path: '/test.Echo/Split', verdict: 'deny', status: 403 },
      { path: '/test.Echo/Unary', verdict: 'allow', status: 200 },
    ],
  );
  b.workloads.set(byTask([]));
  t.match(await client.call('Unary', 'c'), { code: status.UNAVAILABLE, details: /no workload|connection failure/ });
});

t.test(
  'an endpoint that answers UNAVAILABLE five times in a row is left out, though its HTTP status is 200, and no call fails',
  async t => {
    const [good, gone] = [await startEcho(t), await startEcho(t)];
    const nodes = await Promise.all(
      [good, gone].map(({ port }) =>
        startNode(t, { workloads: [mesh.workload('web', { appPort: port, protocol: 'grpc' })] }),
      ),
    );
    gone.kill();
    const a = await startNode(t, {
      workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
      services: [
        serviceOf(
          'web',
          nodes.map(({ running }) => running.meshPort),
        ),
      ],
    });
    const client = clientOf(t, 'connect', a.running.outboundPort);
    for (let i = 0; i < 60; i++) t.match(await client.call('Unary', 'x'), { code: status.OK });
    t.same(
      nodes[1]?.records.map(({ status }) => status),
      [503, 503, 503, 503, 503],
    );
  },
);

import { once } from 'node:events';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { Mesh, policyOf, RawClient, rawOrigin, serverNameOf, serviceOf, startNode } from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();

/** A node in front of an application that handles sockets itself, with a client of it. */
async function through(t: Test, onData: (socket: Socket, text: string) => void) {
  const origin = await rawOrigin(t, onData);
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  const connect = () => RawClient.mesh(t, mesh, 'client', node, serverNameOf('web'));
  return { origin, node, connect, client: await connect() };
}

const request = (line: string, lines = '') => `${line} HTTP/1.1\r\nHost: web\r\n${lines}\r\n`;
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** Answers each request (without body) that has come in whole. */
function answering(response: string) {
  const answered = new WeakMap<Socket, number>();
  return (socket: Socket, text: string) => {
    const whole = text.split('\r\n\r\n').length - 1;
    for (let i = answered.get(socket) ?? 0; i < whole; i++) socket.write(response, 'latin1');
    answered.set(socket, whole);
  };
}

t.test('a connection serves one request after another, on one connection to the application', async t => {
  const { client, origin } = await through(t, answering(ok));
  for (let i = 0; i < 5; i++) t.match(await client.askWhole(request('GET /')), /^HTTP\/1\.1 200 OK\r\n/);
  t.equal(origin.connections.size, 1);
});

t.test('pipelined requests are answered in order, one at a time', async t => {
  let open = 0;
  let most = 0;
  const { client } = await through(t, (socket, text) => {
    most = Math.max(most, ++open);
    const path = [...text.matchAll(/^GET (\S+) HTTP/gm)].at(-1)?.[1];
    setImmediate(() => {
      open--;
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${path}`);
    });
  });
  client.write(['/1', '/2', '/3', '/4'].map(path => request(`GET ${path}`)).join(''));
  const all = await client.until('/4');
  t.same(all.match(/\/\d(?=HTTP|$)/g), ['/1', '/2', '/3', '/4']);
  t.equal(most, 1);
});

t.test('chunks and trailers pass both ways as they are', async t => {
  const body = '5\r\nhello\r\n1F\r\n0123456789012345678901234567890\r\n0\r\nX-Sum: 36\r\n\r\n';
  const { client, origin } = await through(t, (socket, text) => {
    if (text.endsWith('X-Sum: 36\r\n\r\n')) {
      socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body}`);
    }
  });
  const head = request('POST /', 'Transfer-Encoding: chunked\r\n');
  client.write(head);
  for (const piece of body.match(/.{1,7}/gs) ?? []) client.write(piece);
  t.ok((await client.until('X-Sum: 36\r\n\r\n')).endsWith(`\r\n\r\n${body}`));
  t.ok(origin.seen().endsWith(`\r\n\r\n${body}`));
});

t.test('100-continue and other 1xx responses reach the client before the body is sent', async t => {
  const { client } = await through(t, (socket, text) => {
    if (text.endsWith('hello')) socket.write(ok);
    else if (text.endsWith('\r\n\r\n'))
      socket.write('HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n');
  });
  const hints = await client.ask(
    request('PUT /', 'Content-Length: 5\r\nExpect: 100-continue\r\n'),
    '100 Continue\r\n\r\n',
  );
  t.match(hints, /^HTTP\/1\.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP\/1\.1 100 Continue\r\n\r\n$/);
  t.match(await client.askWhole('hello'), /^HTTP\/1\.1 200/);
});

t.test('endless 1xx responses are cut short', async t => {
  const { client } = await through(t, socket => {
    socket.write('HTTP/1.1 102 Processing\r\n\r\n'.repeat(50));
  });
  t.match(await client.ask(request('GET /'), 'protocol error'), /HTTP\/1\.1 502 /);
});

t.test('HEAD, 204 and 304 have no body whatever their headers say', async t => {
  const { client } = await through(t, (socket, text) => {
    const [method, path] = (text.match(/^[A-Z]+ \S+(?= HTTP)/gm)?.at(-1) ?? '').split(' ');
    if (method === 'HEAD') socket.write('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n');
    else if (path === '/204') socket.write('HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n');
    else if (path === '/304') socket.write('HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n');
    else socket.write(ok);
  });
  t.match(await client.ask(request('HEAD /'), '\r\n\r\n'), /Content-Length: 500/);
  t.notMatch(await client.ask(request('GET /204'), '\r\n\r\n'), /content-length/i);
  t.match(await client.ask(request('GET /304'), '\r\n\r\n'), /Content-Length: 500/);
  t.match(await client.askWhole(request('GET /')), /ok$/);
});

t.test("a response that ends with its connection ends the client's", async t => {
  const { client } = await through(t, socket => {
    socket.end('HTTP/1.1 200 OK\r\n\r\nuntil the end');
  });
  client.write(request('GET /'));
  t.match(await client.untilClosed(), /^HTTP\/1\.1 200 OK\r\nconnection: close\r\n\r\nuntil the end$/);
});

t.test('a client of HTTP/1.0 gets the data of the chunks, and the end of the connection', async t => {
  const { client, origin } = await through(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n3\r\nabc\r\n');
    setImmediate(() => socket.write('2\r\nde\r\n0\r\nT: 1\r\n\r\n'));
  });
  client.write('GET / HTTP/1.0\r\nHost: web\r\n\r\n');
  t.match(await client.untilClosed(), /^HTTP\/1\.1 200 OK\r\nX: y\r\nconnection: close\r\n\r\nabcde$/);
  t.match(origin.seen(), /^GET \/ HTTP\/1\.1\r\n/);
});

t.test('an answer before the body has come ends the connection, and the client can read it', async t => {
  const { client } = await through(t, (socket, text) => {
    if (!text.includes('xxxx')) socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig');
  });
  client.write(request('POST /', 'Content-Length: 1000000\r\n'));
  await client.until('big');
  for (let i = 0; i < 10; i++) client.write('x'.repeat(10_000));
  t.match(await client.untilClosed(), /^HTTP\/1\.1 413 .*\r\nconnection: close\r\n/s);
});

t.test(
  'an application that cannot be reached, resets, or speaks nonsense: 503, 503 and 502 on a connection that stays',
  async t => {
    let answer = '';
    const { client, node, origin } = await through(t, socket => {
      if (answer === '') socket.destroy();
      else socket.write(answer);
    });
    t.match(await client.askWhole(request('POST /')), /^HTTP\/1\.1 503 .*connection termination/s);
    for (answer of [
      'nonsense\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n',
      'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\n',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n',
      `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`,
    ]) {
      t.match(await client.askWhole(request('GET /')), /^HTTP\/1\.1 502 .*protocol error/s, answer.slice(0, 60));
    }
    await origin.close();
    t.match(await client.askWhole(request('GET /')), /^HTTP\/1\.1 503 .*connection failure/s);
    t.same([...new Set(node.records.map(record => record.flags))], ['UC', 'UPE', 'UF']);
  },
);

t.test('bytes behind a response never reach anybody', async t => {
  const { client, origin } = await through(t, answering(`${ok}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`));
  for (let i = 0; i < 3; i++) t.match(await client.askWhole(request('GET /')), /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nok$/s);
  t.notMatch(client.received, /evil/);
  t.equal(origin.seen().match(/^GET /gm)?.length, 3);
});

t.test('a response that breaks off is cut off, so that the client notices', async t => {
  const { client, node } = await through(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart', () => socket.destroy());
  });
  client.write(request('GET /'));
  t.match(await client.untilClosed(), /part$/);
  await node.recorded(1);
  t.match(node.records[0], { flags: 'UC', status: 200 });
});

t.test(
  'a request on a connection that the application has just closed is sent again, once, if that does no harm',
  async t => {
    let connections = 0;
    const { client, node } = await through(t, (socket, text) => {
      const requests = text.split('\r\n\r\n').length - 1;
      if (requests === 1) connections++;
      // each connection answers one request and dies on the next
      if (requests > 1) socket.destroy();
      else socket.write(ok);
    });
    t.match(await client.askWhole(request('GET /')), /^HTTP\/1\.1 200/);
    t.match(await client.askWhole(request('GET /')), /^HTTP\/1\.1 200/, 'an idempotent request does not notice');
    t.equal(connections, 2);
    t.match(await client.askWhole(request('POST /')), /^HTTP\/1\.1 503/, 'another may have been carried out');
    t.match(
      node.records.map(record => record.flags),
      ['-', '-', 'UC'],
    );
  },
);

t.test('a client that goes away takes its request to the application with it', async t => {
  const { client, origin, node } = await through(t, () => {});
  client.write(request('GET /'));
  const [socket] = await new Promise<Socket[]>(resolve => {
    const look = () => (origin.seen().includes('\r\n\r\n') ? resolve([...origin.connections]) : setImmediate(look));
    look();
  });
  const closed = socket === undefined ? undefined : once(socket, 'close');
  client.socket.destroy();
  await closed;
  await node.recorded(1);
  t.match(node.records[0], { flags: 'DC', status: 0 });
});

t.test('a slow reader slows the application down, and gets every byte', async t => {
  const total = 24 * 1024 * 1024;
  const piece = Buffer.alloc(256 * 1024, 'z');
  let written = 0;
  const { client } = await through(t, socket => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`);
    const more = () => {
      while (written < total) {
        written += piece.length;
        if (!socket.write(piece)) return;
      }
    };
    socket.on('drain', more);
    more();
  });
  let received = 0;
  client.socket.removeAllListeners('data');
  client.socket.pause();
  client.write(request('GET /'));
  // everything between the two fills up, and then the application waits
  let before = -1;
  for (let still = 0; still < 20; ) {
    await new Promise(resolve => setImmediate(resolve));
    still = written === before && written > 0 ? still + 1 : 0;
    before = written;
  }
  t.ok(written < total, `${written} bytes were taken from the application`);
  await new Promise<void>(resolve => {
    client.socket.on('data', (text: string) => {
      received += text.length;
      if (received >= total) resolve();
    });
    client.socket.resume();
  });
  t.ok(received > total);
});

t.test('a slow application slows the sender down', async t => {
  const total = 24 * 1024 * 1024;
  let taken = 0;
  let application: Socket | undefined;
  const { client } = await through(t, (socket, text) => {
    application = socket;
    if (taken === 0) socket.pause();
    taken = text.length;
    if (text.length > total) socket.write(ok);
  });
  const piece = 'y'.repeat(256 * 1024);
  let sent = 0;
  const more = () => {
    while (sent < total) {
      sent += piece.length;
      if (!client.socket.write(piece)) return;
    }
  };
  client.socket.on('drain', more);
  client.write(request('POST /', `Content-Length: ${total}\r\n`));
  more();
  let before = -1;
  for (let still = 0; still < 20; ) {
    await new Promise(resolve => setImmediate(resolve));
    still = sent === before && application !== undefined ? still + 1 : 0;
    before = sent;
  }
  t.ok(sent < total, `${sent} bytes were taken from the client`);
  application?.resume();
  t.match(await client.until('ok'), /^HTTP\/1\.1 200/);
});

t.test('a client that pipelines and never reads is not answered for ever', async t => {
  const body = 'x'.repeat(100_000);
  let answered = 0;
  const { client } = await through(t, (socket, text) => {
    for (; answered < text.split('\r\n\r\n').length - 1; answered++) {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    }
  });
  client.socket.pause();
  client.write(request('GET /').repeat(500));
  let before = -1;
  for (let still = 0; still < 50; ) {
    await new Promise(resolve => setImmediate(resolve));
    still = answered === before && answered > 0 ? still + 1 : 0;
    before = answered;
  }
  t.ok(answered < 400, `${answered} answers for one who does not read`);
});

t.test('the body of a denied request is skipped, and the next request is answered', async t => {
  const { client, node } = await through(t, answering(ok));
  node.policy.set(policyOf('allow', { action: 'DENY', rules: [{ to: [{ operation: { methods: ['POST'] } }] }] }));
  client.write(request('POST /', 'Content-Length: 10\r\n'));
  await client.until('RBAC: access denied');
  client.received = '';
  client.write('0123456789');
  t.match(await client.askWhole(request('GET /')), /^HTTP\/1\.1 200/);
  client.received = '';
  client.write(`${request('POST /', 'Content-Length: 10000000\r\n')}begin`);
  t.match(
    await client.untilClosed(),
    /^HTTP\/1\.1 403 .*connection: close.*RBAC: access denied$/s,
    'a large one is not',
  );
});

t.test('a body that turns out to be none breaks the exchange off', async t => {
  const { client, origin } = await through(t, () => {});
  client.write(request('POST /', 'Transfer-Encoding: chunked\r\n'));
  client.write('1\r\nx\r\nnothing');
  t.match(await client.untilClosed(), /^HTTP\/1\.1 400 .*connection: close/s);
  t.notMatch(origin.seen(), /nothing/);
});

t.test('behind a body whose last piece fills the buffers, the next request is read', async t => {
  const { node } = await through(t, (socket, text) => {
    const latest = text.slice(text.lastIndexOf(' HTTP/1.1'));
    if (latest.endsWith('last')) socket.write(ok);
    else if (latest.endsWith('\r\n\r\n'))
      socket.write(latest.includes('Expect') ? 'HTTP/1.1 100 Continue\r\n\r\n' : ok);
  });
  const caller = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [serviceOf('web', [node.running.meshPort])],
  });
  const task = await RawClient.plain(t, caller.running.outboundPort);
  const proof = `Proxy-Authorization: Basic ${Buffer.from('client-1:secret-of-client').toString('base64')}\r\n`;
  // over plain TCP it comes in one piece, which is more than the upstream connection takes without a pause
  const body = `${'x'.repeat(60_000)}last`;
  const lines = `${proof}Content-Length: ${body.length}\r\nExpect: 100-continue\r\n`;
  for (let i = 0; i < 3; i++) {
    await task.ask(request('PUT http://web/', lines), '\r\n\r\n');
    t.match(await task.askWhole(body), /^HTTP\/1\.1 200/);
    t.match(await task.askWhole(request('GET http://web/', proof)), /^HTTP\/1\.1 200/);
  }
});

import fc from 'fast-check';
import t from 'tap';
import { isAnswer, requestText } from '../../../src/proxy/http2/request-text.ts';
import { Head } from '../../../src/proxy/wire/head.ts';
import { parseRequest } from '../../../src/proxy/wire/parse.ts';
import { fieldBlock, flag, frame, get, RawHttp2, type } from '../../fixtures/http2-frames.ts';
import { Mesh, rawOrigin, startNode } from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();
type Fields = readonly (readonly [string, string])[];
const hidden = 'GET /hidden HTTP/1.1\r\nhost: web\r\n\r\n';

const replaced = (name: string, value: string): Fields => get.map(each => (each[0] === name ? [name, value] : each));
const without = (name: string): Fields => get.filter(each => each[0] !== name);
const post = replaced(':method', 'POST');

/** Fields that are none, which node:http2 leaves out of the request. */
const fields: Readonly<Record<string, Fields>> = {
  'CR LF in a value': [...get, ['x', `1\r\n\r\n${hidden}`]],
  'LF in a value': [...get, ['x', '1\ntransfer-encoding: chunked']],
  'CR in a value': [...get, ['x', '1\rx']],
  'NUL in a value': [...get, ['x', '1\0']],
  'CR LF in a name': [...get, ['x: 1\r\ntransfer-encoding', 'chunked']],
  'a colon in a name': [...get, ['transfer-encoding: chunked\r\nx', '1']],
  'a space in a name': [...get, ['transfer-encoding ', 'chunked']],
  'an empty name': [...get, ['', 'x']],
};

/** Heads that must never become a request. */
const heads: Readonly<Record<string, Fields>> = {
  'capitals in a name': [...get, ['Transfer-Encoding', 'chunked']],
  'transfer-encoding': [...post, ['transfer-encoding', 'chunked']],
  connection: [...get, ['connection', 'x-secret']],
  'keep-alive': [...get, ['keep-alive', '1']],
  'proxy-connection': [...get, ['proxy-connection', 'keep-alive']],
  upgrade: [...get, ['upgrade', 'websocket']],
  'te other than trailers': [...get, ['te', 'chunked']],
  'two lengths': [...post, ['content-length', '1'], ['content-length', '2']],
  'a length twice': [...post, ['content-length', '0'], ['content-length', '0']],
  'a signed length': [...post, ['content-length', '+1']],
  'a length in a list': [...post, ['content-length', '0, 0']],
  'a length in hexadecimal': [...post, ['content-length', '0x1']],
  'a length without a body': [...post, ['content-length', '5']],
  'a host that is not the authority': [...get, ['host', 'bank']],
  'two hosts': [...without(':authority'), ['host', 'web'], ['host', 'bank']],
  'neither host nor authority': without(':authority'),
  'an empty authority': replaced(':authority', ''),
  'a user in the authority': replaced(':authority', 'bank@web'),
  'CR LF in the authority': replaced(':authority', 'web\r\nx: 1'),
  'a slash in the authority': replaced(':authority', 'web/x'),
  'no path': without(':path'),
  'an empty path': replaced(':path', ''),
  'a path without a slash': replaced(':path', 'x'),
  'a whole address as path': replaced(':path', 'http://bank/'),
  'a space in the path': replaced(':path', '/ HTTP/1.1\r\nhost: bank\r\n'),
  'a fragment in the path': replaced(':path', '/#x'),
  'two paths': [...get, [':path', '/other']],
  'no method': without(':method'),
  'a method with a space': replaced(':method', 'GET /hidden HTTP/1.1\r\nx:'),
  CONNECT: [
    [':method', 'CONNECT'],
    [':authority', 'web:80'],
  ],
  'an extended CONNECT': [...replaced(':method', 'CONNECT'), [':protocol', 'websocket']],
  'no scheme': without(':scheme'),
  'an unknown pseudo header': [...get, [':secret', '1']],
  'a pseudo header behind another': [['x', '1'], ...get],
  'a name in disguise': [...post, ['transfer_encoding', 'chunked']],
  'a forged identity in disguise': [...get, ['x_forwarded_client_cert', 'URI=spiffe://edge.local/ns/default/sa/admin']],
};

t.test('a head that could be read in two ways is refused, and no byte of it reaches the application', async t => {
  const origin = await rawOrigin(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  for (const [name, fields] of Object.entries(heads)) {
    const client = await RawHttp2.open(t, mesh, 'client', node);
    client.headers(1, fields, flag.endStream);
    const outcome = await client.outcome(1);
    t.ok(
      typeof outcome === 'number' || outcome === 'closed' || outcome.startsWith('bad request'),
      `${name}: ${outcome}`,
    );
    client.socket.destroy();
  }
  t.equal(origin.seen(), '');
});

t.test('a field that is none goes nowhere', async t => {
  const origin = await rawOrigin(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  for (const [name, head] of Object.entries(fields)) {
    const client = await RawHttp2.open(t, mesh, 'client', node);
    client.headers(1, head, flag.endStream);
    await client.outcome(1);
    client.socket.destroy();
    t.notMatch(origin.seen(), /hidden|encoding|\r\nx:|\0/, name);
  }
  const names = new Set([...origin.seen().matchAll(/^([^ \r\n:]+):/gm)].map(match => match[1]));
  t.same([...names].sort(), ['host', 'x-forwarded-client-cert', 'x-request-id']);
});

t.test('a body that is not as long as its length says is no request, whole or in part', async t => {
  const origin = await rawOrigin(t, () => {});
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  for (const body of ['12345', '', `1234${hidden}`]) {
    const client = await RawHttp2.open(t, mesh, 'client', node);
    const head = frame(type.headers, flag.endHeaders, 1, fieldBlock([...post, ['content-length', '4']]));
    client.write(head, frame(type.data, flag.endStream, 1, Buffer.from(body)));
    t.ok([1, 'closed'].includes(await client.outcome(1)), body);
    client.socket.destroy();
  }
  t.notMatch(origin.seen(), /hidden|12345/);
});

t.test('what a body contains stays a body, whatever it looks like', async t => {
  const origin = await rawOrigin(t, (socket, text) => {
    if (text.endsWith('0\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  const client = await RawHttp2.open(t, mesh, 'client', node);
  client.headers(1, post, 0);
  client.write(frame(type.data, 0, 1, Buffer.from(`0\r\n\r\n${hidden}`)), frame(type.data, flag.endStream, 1));
  t.equal(await client.outcome(1), 'ok');
  const size = (5 + hidden.length).toString(16);
  t.ok(origin.seen().endsWith(`\r\n\r\n${size}\r\n0\r\n\r\n${hidden}\r\n0\r\n\r\n`));
  t.equal(node.records.length, 1);
});

t.test('trailers that mean framing or identity are refused', async t => {
  const origin = await rawOrigin(t, () => {});
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  for (const name of ['content-length', 'transfer-encoding', 'host', 'x-forwarded-client-cert', ':path']) {
    const client = await RawHttp2.open(t, mesh, 'client', node);
    client.headers(1, post, 0);
    client.write(frame(type.data, 0, 1, Buffer.from('body')));
    client.headers(1, [[name, '1']], flag.endStream);
    const outcome = await client.outcome(1);
    t.ok(typeof outcome === 'number' || outcome.startsWith('bad request'), `${name}: ${outcome}`);
    client.socket.destroy();
  }
  t.notMatch(origin.seen(), /0\r\n/);
});

t.test('whatever is in its fields, a translated head is one request, and the one that was asked for', async t => {
  const odd = fc.oneof(
    fc.constantFrom('\r\n', '\n', '\0', ':', ' ', 'x', '1', 'chunked', 'web', 'é', '\t', ',', '%0d%0a', '/', '#', '?'),
    fc.string({ maxLength: 3 }),
  );
  const text = fc.array(odd, { maxLength: 4 }).map(pieces => pieces.join(''));
  const name = fc.oneof(
    text,
    fc.constantFrom('host', 'te', 'cookie', 'content-length', 'transfer-encoding', 'x-a', ':path'),
  );
  const extra = fc.array(fc.tuple(name, text), { maxLength: 4 });
  const path = text.map(end => `/${end}`);
  fc.assert(
    fc.property(
      extra,
      path,
      fc.boolean(),
      fc.constantFrom('origin' as const, 'absolute' as const),
      (fields, at, ended, form) => {
        const raw = [...replaced(':path', at), ...fields].flat();
        const request = requestText(raw, ended, form);
        if (isAnswer(request)) return;
        const bytes = Buffer.from(request.head, 'latin1');
        const head = new Head();
        const end = parseRequest(head, bytes, 0, bytes.length);
        if (end <= 0) return;
        t.equal(end, bytes.length);
        t.equal(head.chunked, request.chunked);
        t.equal(head.contentLength, request.contentLength);
        t.equal(bytes.toString('latin1', head.pathStart, head.pathEnd), at);
        const given = fields.filter(([each]) => !['host', 'content-length', 'cookie'].includes(each)).length;
        t.ok(head.count >= given + 1 && head.count <= fields.length + 2);
      },
    ),
    { numRuns: 2000, seed: 7 },
  );
});

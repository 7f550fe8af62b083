import { createServer, METHODS } from 'node:http';
import { Duplex } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { fieldNamed, valueText } from '../../../src/proxy/wire/fields.ts';
import { Head, incomplete } from '../../../src/proxy/wire/head.ts';
import { parseRequest, parseResponse } from '../../../src/proxy/wire/parse.ts';
import { refuse } from '../../../src/proxy/wire/refusals.ts';

const bytes = (text: string) => Buffer.from(text, 'latin1');

function request(text: string) {
  const head = new Head();
  const buffer = bytes(text);
  return { head, buffer, result: parseRequest(head, buffer, 0, buffer.length) };
}

const get = (lines: string) => `GET / HTTP/1.1\r\nHost: a\r\n${lines}\r\n`;
const post = (lines: string) => `POST / HTTP/1.1\r\nHost: a\r\n${lines}\r\n`;

t.test('a plain request is read as offsets', async t => {
  const text = 'POST /a/b?c=d HTTP/1.1\r\nHost: web\r\nX-One:  1 \r\nContent-Length: 4\r\n\r\nbody';
  const { head, buffer, result } = request(text);
  t.equal(result, text.length - 4);
  t.equal(buffer.toString('latin1', 0, head.methodEnd), 'POST');
  t.equal(buffer.toString('latin1', head.pathStart, head.queryStart), '/a/b');
  t.equal(buffer.toString('latin1', head.queryStart, head.pathEnd), '?c=d');
  t.equal(fieldNamed(head, buffer, 'x-one'), '1');
  t.equal(valueText(head, buffer, head.host), 'web');
  t.equal(head.contentLength, 4);
  t.notOk(head.rewrite);
});

t.test('CONNECT has an authority with a port, and needs no Host', t => {
  for (const text of ['CONNECT db:5432 HTTP/1.1\r\nHost: x\r\n\r\n', 'CONNECT db:5432 HTTP/1.0\r\n\r\n']) {
    const { head, buffer, result } = request(text);
    t.equal(result, text.length);
    t.ok(head.connect);
    t.equal(buffer.toString('latin1', head.authorityStart, head.authorityEnd), 'db:5432');
    t.equal(head.pathStart, head.pathEnd);
  }
  t.notOk(request(get('')).head.connect);
  t.end();
});

t.test('an absolute-form target has authority and path', async t => {
  for (const [target, authority, path] of [
    ['http://web.default.mesh/x?y', 'web.default.mesh', '/x?y'],
    ['HTTP://web:80/', 'web:80', '/'],
    ['http://web', 'web', ''],
    ['http://web?q', 'web', '?q'],
  ] as const) {
    const { head, buffer, result } = request(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
    t.ok(result > 0, target);
    t.equal(buffer.toString('latin1', head.authorityStart, head.authorityEnd), authority);
    t.equal(buffer.toString('latin1', head.pathStart, head.pathEnd), path);
  }
});

t.test('what is ambiguous, malformed or too much is refused', async t => {
  const many = Array.from({ length: 101 }, (_, i) => `X${i}: 1\r\n`).join('');
  const cases: readonly (readonly [string, number])[] = [
    [post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n'), refuse.lengthAndEncoding],
    [post('Content-Length: 0\r\nContent-Length: 0\r\n'), refuse.contentLength],
    [post('Content-Length: 5, 5\r\n'), refuse.contentLength],
    [post('Content-Length: +5\r\n'), refuse.contentLength],
    [post('Content-Length: -5\r\n'), refuse.contentLength],
    [post('Content-Length: 0x5\r\n'), refuse.contentLength],
    [post('Content-Length: 5 5\r\n'), refuse.contentLength],
    [post('Content-Length:\r\n'), refuse.contentLength],
    [post('Content-Length: 9999999999999999\r\n'), refuse.contentLength],
    [post('Transfer-Encoding: xchunked\r\n'), refuse.transferEncoding],
    [post('Transfer-Encoding: chunked, identity\r\n'), refuse.transferEncoding],
    [post('Transfer-Encoding: gzip, chunked\r\n'), refuse.transferEncoding],
    [post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n'), refuse.transferEncoding],
    [post('Transfer-Encoding: "chunked"\r\n'), refuse.transferEncoding],
    [post('Transfer-Encoding: \x0bchunked\r\n'), refuse.headerValue],
    ['POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n', refuse.transferEncoding],
    [post('Transfer-Encoding : chunked\r\n'), refuse.headerName],
    [post('Transfer_Encoding: chunked\r\n'), refuse.disguisedName],
    [post('Transfer--Encoding: chunked\r\n'), refuse.disguisedName],
    [post('Content_Length: 5\r\n'), refuse.disguisedName],
    [get('X_Forwarded_Client_Cert: By=x\r\n'), refuse.disguisedName],
    [get('X: a\r\n b\r\n'), refuse.headerName],
    ['GET / HTTP/1.1\nHost: a\n\n', refuse.version],
    [get('X: a\nY: b\r\n'), refuse.headerValue],
    [get('X: a\rY: b\r\n'), refuse.headerValue],
    [get('X: a\0b\r\n'), refuse.headerValue],
    [get('X: \x7f\r\n'), refuse.headerValue],
    [get('X\0: b\r\n'), refuse.headerName],
    [get('X[: b\r\n'), refuse.headerName],
    [get('X\xe9: b\r\n'), refuse.headerName],
    [get(': x\r\n'), refuse.headerName],
    ['GET / HTTP/1.1\r\n Host: a\r\n\r\n', refuse.headerName],
    ['GET / HTTP/1.1\r\n\r\n', refuse.host],
    ['GET / HTTP/1.0\r\n\r\n', refuse.host],
    [get('Host: b\r\n'), refuse.host],
    ['GET / HTTP/1.1\r\nHost:\r\n\r\n', refuse.host],
    ['GET / HTTP/1.1\r\nHost: a b\r\n\r\n', refuse.host],
    ['GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', refuse.host],
    ['GET / HTTP/1.1\r\nHost: user@a\r\n\r\n', refuse.host],
    ['GET /\r\n\r\n', refuse.target],
    ['GET / HTTP/2.0\r\nHost: a\r\n\r\n', refuse.version],
    ['GET / HTTP/1.2\r\nHost: a\r\n\r\n', refuse.version],
    ['GET / http/1.1\r\nHost: a\r\n\r\n', refuse.version],
    ['GET / HTTP/1.1 \r\nHost: a\r\n\r\n', refuse.version],
    ['GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n', refuse.method],
    ['GET  / HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['G(T / HTTP/1.1\r\nHost: a\r\n\r\n', refuse.method],
    [' GET / HTTP/1.1\r\nHost: a\r\n\r\n', refuse.method],
    [`${'G'.repeat(33)} / HTTP/1.1\r\nHost: a\r\n\r\n`, refuse.method],
    ['GET /#x HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['GET * HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['GET a HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['CONNECT a:1/ HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['CONNECT http://a:1 HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['connect a:1 HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['GET a:1 HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['GET / HTTP/1.1\r\n\r\n', refuse.host],
    ['GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    ['GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n', refuse.target],
    [get('Expect: 200-ok\r\n'), refuse.expectation],
    [get('Connection: host\r\n'), refuse.connectionOption],
    [get('Connection: content-length\r\n'), refuse.connectionOption],
    [get('Connection: close, X-Forwarded-Client-Cert\r\n'), refuse.connectionOption],
    [get(many), refuse.tooManyHeaders],
  ];
  for (const [text, expected] of cases) t.equal(request(text).result, expected, JSON.stringify(text.slice(0, 90)));
});

t.test('what is unusual but clear is read', async t => {
  for (const text of [
    'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n',
    '\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
    'GET / HTTP/1.0\r\nHost: a\r\n\r\n',
    'M-SEARCH /x HTTP/1.1\r\nhOsT: [::1]:80\r\n\r\n',
    get("My-Header.!#$%&'*+^_`|~0123456789: \t\xa0\x85\r\n"),
    get('X-Empty:\r\nX-Request-Start: t=1\r\n'),
    post('Transfer-Encoding: CHUNKED\r\n'),
  ]) {
    t.equal(request(text).result, text.length, JSON.stringify(text));
  }
});

t.test('framing in any but the plainest spelling is spelled anew', async t => {
  for (const lines of ['Content-Length:5\r\n', 'Content-Length: 05\r\n', 'Transfer-Encoding:\tchunked\r\n']) {
    const { head, result } = request(post(lines));
    t.ok(result > 0 && head.rewrite, lines);
  }
});

t.test('a header that Connection names goes no further, and Connection itself neither', async t => {
  const { head, result } = request(
    get('Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nX-Secret: 2\r\nTE: trailers\r\n'),
  );
  t.ok(result > 0);
  t.ok(head.keepAlive && head.rewrite);
  t.same([...head.kind.subarray(0, head.count)], [1, 4, 14, 14, 0]);
});

t.test('a head in pieces is incomplete at every byte, and never refused', async t => {
  const text = get('Connection: keep-alive\r\nX: 1\r\n');
  for (let length = 0; length < text.length; length++) {
    t.equal(request(text.slice(0, length)).result, incomplete, text.slice(0, length));
  }
  const head = new Head();
  const response = bytes('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n');
  for (let length = 0; length < response.length; length++) {
    t.equal(parseResponse(head, response, 0, length), incomplete, response.toString('latin1', 0, length));
  }
});

t.test('a response head is as strict', async t => {
  const head = new Head();
  const read = (text: string) => parseResponse(head, bytes(text), 0, text.length);
  t.ok(read('HTTP/1.1 204\r\n\r\n') > 0, 'without a reason phrase');
  t.ok(read('HTTP/1.0 200 Very \xfcOK\r\nConnection: close\r\n\r\n') > 0);
  t.equal(head.status, 200);
  t.ok(head.close);
  for (const text of [
    'HTTP/1.1 099 x\r\n\r\n',
    'HTTP/1.1 600 x\r\n\r\n',
    'HTTP/1.1 2000 x\r\n\r\n',
    'HTTP/1.1  200 x\r\n\r\n',
    'HTTP/2 200 x\r\n\r\n           ',
    'HTTP/1.1 200 x\n\n                ',
    'HTTP/1.1 200 x\0\r\n\r\n           ',
    'ICY 200 OK\r\n\r\n',
  ]) {
    t.equal(read(text), refuse.statusLine, text);
  }
  t.equal(read('HTTP/1.1 200 x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n'), refuse.lengthAndEncoding);
  t.equal(read('HTTP/1.1 200 x\r\nA: b\r\n c\r\n\r\n'), refuse.headerName);
});

/** What Node's own parser (llhttp) makes of the bytes of one request head. */
function llhttp() {
  let seen: { method: string; url: string; rawHeaders: string[] } | undefined;
  const server = createServer({ maxHeaderSize: 65_536 }, request => {
    seen = { method: request.method ?? '', url: request.url ?? '', rawHeaders: request.rawHeaders };
  });
  server.on('checkContinue', request => {
    seen = { method: request.method ?? '', url: request.url ?? '', rawHeaders: request.rawHeaders };
  });
  server.on('upgrade', request => {
    seen = { method: request.method ?? '', url: request.url ?? '', rawHeaders: request.rawHeaders };
  });
  server.on('clientError', () => {});
  return (buffer: Buffer) => {
    seen = undefined;
    const socket = new Duplex({ read() {}, write: (_, __, done) => done() });
    server.emit('connection', socket);
    socket.emit('data', buffer);
    socket.destroy();
    return seen;
  };
}

const templates = [
  'GET /a?b HTTP/1.1\r\nHost: web\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n',
  'POST /x HTTP/1.1\r\nHost: web:80\r\nContent-Length: 12\r\nX-Y: z\r\n\r\n',
  'PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: te\r\n\r\n',
  'GET http://web.default.mesh/p HTTP/1.1\r\nHost: b\r\nProxy-Authorization: Basic eDp5\r\nExpect: 100-continue\r\n\r\n',
  'OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX:\t1 \r\n\r\n',
];
const nasty = fc.constantFrom(...[0, 1, 9, 10, 11, 13, 32, 35, 44, 45, 47, 48, 58, 59, 64, 95, 97, 127, 128, 255]);
const mutation = fc.record({
  at: fc.nat(160),
  kind: fc.constantFrom('insert', 'replace', 'remove', 'copy'),
  byte: fc.oneof(nasty, fc.nat(255)),
});

function mutate(text: string, mutations: readonly { at: number; kind: string; byte: number }[]): Buffer {
  const list = [...bytes(text)];
  for (const { at, kind, byte } of mutations) {
    const place = at % (list.length + 1);
    if (kind === 'insert') list.splice(place, 0, byte);
    else if (kind === 'replace') list.splice(place, 1, byte);
    else if (kind === 'remove') list.splice(place, 1);
    else list.splice(place, 0, ...list.slice(place, place + (byte % 24)));
  }
  return Buffer.from(list);
}

t.test('what is accepted of mangled requests, llhttp reads the same way', async t => {
  const reference = llhttp();
  const known = new Set(METHODS);
  const head = new Head();
  let accepted = 0;
  fc.assert(
    fc.property(fc.constantFrom(...templates), fc.array(mutation, { maxLength: 4 }), (template, mutations) => {
      const buffer = mutate(template, mutations);
      const end = parseRequest(head, buffer, 0, buffer.length);
      if (end <= 0) return;
      const method = buffer.toString('latin1', head.start, head.methodEnd);
      if (!known.has(method)) return;
      accepted++;
      const seen = reference(buffer.subarray(0, end));
      if (seen === undefined) throw new Error(`llhttp refuses ${JSON.stringify(buffer.toString('latin1'))}`);
      const rawHeaders: string[] = [];
      for (let i = 0; i < head.count; i++) {
        rawHeaders.push(buffer.toString('latin1', head.nameStart[i], head.nameEnd[i]), valueText(head, buffer, i));
      }
      const url = buffer.toString('latin1', head.methodEnd + 1, head.pathEnd);
      if (!isDeepStrictEqual({ method, url, rawHeaders }, seen)) {
        throw new Error(`read differently: ${JSON.stringify(buffer.toString('latin1'))}`);
      }
    }),
    { seed: 11, numRuns: 20_000 },
  );
  t.ok(accepted > 2000, `${accepted} were accepted`);
});

t.test('no bytes bring the parsers down or make them read past the end', async () => {
  const head = new Head();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), (random, from) => {
      const buffer = Buffer.from(random);
      const start = Math.min(from, buffer.length);
      return (
        parseRequest(head, buffer, start, buffer.length) <= buffer.length &&
        parseResponse(head, buffer, start, buffer.length) <= buffer.length
      );
    }),
    { seed: 12, numRuns: 20_000 },
  );
});

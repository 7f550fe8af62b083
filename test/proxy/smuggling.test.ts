import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import t, { type Test } from 'tap';
import { parse } from 'yaml';
import { Mesh, RawClient, rawOrigin, serverNameOf, startNode } from '../fixtures/proxy-node.ts';
import { framingCases } from './smuggling/framing-cases.ts';
import { headCases } from './smuggling/head-cases.ts';
import { ourDoor } from './smuggling/our-door.ts';
import { responses } from './smuggling/response-cases.ts';
import { tryRequest, tryResponse } from './smuggling/trial.ts';

const mesh = new Mesh();
const corpus = '../shared/corpus/http-desync';

/** An application that answers each request it understands, and remembers every byte that reached it. */
async function recordingApplication(t: Test) {
  const state = { bytes: '', requests: 0 };
  const server = createServer((request, response) => {
    state.requests++;
    request.resume();
    request.on('end', () => response.end());
  });
  server.on('connection', socket => {
    socket.on('data', (piece: Buffer) => {
      state.bytes += piece.toString('latin1');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  t.teardown(() => server.closeAllConnections());
  const address = server.address();
  return { state, port: typeof address === 'object' && address !== null ? address.port : 0 };
}

async function served(t: Test) {
  const app = await recordingApplication(t);
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: app.port })] });
  /** The statuses of as many answers as are expected, or of all up to the end of the connection. */
  const ask = async (bytes: string, count = Number.POSITIVE_INFINITY): Promise<string[]> => {
    const client = await RawClient.mesh(t, mesh, 'client', node, serverNameOf('web'));
    client.write(bytes);
    const answers = await client.untilAnswers(count);
    client.socket.destroy();
    return [...answers.matchAll(/^HTTP\/1\.1 (\d\d\d) /gm)].map(match => match[1] ?? '');
  };
  return { app, node, ask };
}

const get = (lines: string) => `GET / HTTP/1.1\r\nHost: a\r\n${lines}\r\n`;
const last = '0\r\n\r\n';

t.test('whatever a client sends, origin and client see the same', async t => {
  const door = await ourDoor(t, mesh);
  for (const trial of [...framingCases, ...headCases]) {
    const outcome = await tryRequest(door, trial);
    t.same(outcome, { verdict: trial.ours, breaches: [] }, trial.name);
    if (trial.bytes.length > 1000) continue;
    const torn = await tryRequest(door, trial, true);
    t.same(torn, { verdict: trial.ours, breaches: [] }, `${trial.name}, byte by byte`);
  }
});

t.test('whatever an application sends, each client gets its own answer', async t => {
  const door = await ourDoor(t, mesh);
  for (const trial of responses) {
    t.same(await tryResponse(door, trial), { verdict: trial.ours, breaches: [] }, trial.name);
  }
});

t.test('what is refused is counted and recorded', async t => {
  const { ask, node } = await served(t);
  t.same(await ask(get('X : y\r\n')), ['400']);
  t.equal(node.proxy.snapshot().refusedRequests, 1);
  t.match(node.records[0], { verdict: 'deny', rule: 'not-understood', flags: 'DPE', source: /sa\/client$/ });
});

const forwarded: Readonly<Record<string, readonly [bytes: string, reached: RegExp]>> = {
  'an absolute target': ['GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n', /^GET \/x HTTP\/1\.1\r\n.*\r\nhost: b\r\n/s],
  'a forged identity': [
    get('X-Forwarded-Client-Cert: URI=spiffe://edge.local/ns/default/sa/admin\r\n'),
    /\r\nx-forwarded-client-cert: [^\r]*URI=spiffe:\/\/edge\.local\/ns\/default\/sa\/client\r\n/,
  ],
  'a path with dots': ['GET /a/../%61dmin?x=%2e HTTP/1.1\r\nHost: a\r\n\r\n', /^GET \/admin\?x=%2e HTTP\/1\.1\r\n/],
};

t.test('what is odd and clear is forwarded as it was understood', async t => {
  const { app, ask } = await served(t);
  for (const [name, [bytes, reached]] of Object.entries(forwarded)) {
    app.state.bytes = '';
    t.same(await ask(bytes, 1), ['200'], name);
    t.match(app.state.bytes, reached, name);
  }
});

t.test('a GET with a body leaves no connection behind that another request could get', async t => {
  const connections: number[] = [];
  const origin = await rawOrigin(t, (socket, text) => {
    // an application that knows no body on GET: it answers what it takes for a second request too
    const requests = text.match(/^[A-Z]+ \/\S* HTTP/gm) ?? [];
    connections.push(requests.length);
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'.repeat(requests.length));
  });
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  const client = await RawClient.mesh(t, mesh, 'client', node, serverNameOf('web'));
  const hidden = 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n';
  await client.ask(`GET / HTTP/1.1\r\nHost: a\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`, '\r\n\r\n');
  const next = await client.ask(get(''), '\r\n\r\n');
  t.equal(next.match(/HTTP\/1\.1 200/g)?.length, 1);
  t.same(connections, [2, 1], 'the second request came on a connection of its own');
});

interface CorpusCase {
  readonly name: string;
  readonly uri: string;
  readonly method: string;
  readonly version: string;
  readonly headers: readonly { readonly name: string; readonly value: string | number }[] | null;
  readonly expected: { readonly tier: string };
}

// RFC 9112 calls these invalid or lets a server refuse them; the corpus only rates how risky they are to pass on
const strictBeyondCorpus = new Set([
  'Different Transfer-Encoding headers',
  'Different Transfer-Encoding headers combined',
  'Transfer-Encoding with a param: chunked;custom_param',
  'Compliant URL',
  'International in URI',
  'Empty URI',
]);

t.test('the HTTP desync corpus', { skip: existsSync(corpus) ? false : `no ${corpus} beside the project` }, async t => {
  const { app, ask } = await served(t);
  const cases = ['ambiguous', 'rfc-compliant'].flatMap(
    name => parse(readFileSync(`${corpus}/${name}.yaml`, 'utf8')) as readonly CorpusCase[],
  );
  t.ok(cases.length > 40);
  for (const { name, uri, method, version, headers, expected } of cases) {
    app.state.bytes = '';
    const before = app.state.requests;
    const lines = (headers ?? []).map(header => `${header.name}: ${header.value}\r\n`).join('');
    const length = (headers ?? []).find(header => header.name === 'Content-Length')?.value;
    const body = lines.includes('Transfer-Encoding') ? last : 'x'.repeat(Number(length ?? 0));
    const bytes = `${method} ${uri}${version === '' ? '' : ` ${version}`}\r\nHost: a\r\n${lines}\r\n${body}`;
    const statuses = await ask(Buffer.from(bytes, 'utf8').toString('latin1'), 1);
    const passed = statuses.length === 1 && statuses[0] === '200';
    t.equal(app.state.requests - before, passed ? 1 : 0, `${name}: the application sees what was answered`);
    if (expected.tier === 'Compliant' && !strictBeyondCorpus.has(name)) t.ok(passed, `${name}: passed`);
    else if (!passed) t.same([statuses, app.state.bytes], [['400'], ''], `${name}: refused`);
    else {
      const framing = app.state.bytes.match(/\r\n(content-length: \d+|transfer-encoding: chunked)(?=\r\n)/gi) ?? [];
      t.equal(framing.length, 1, `${name}: forwarded with one framing`);
    }
  }
});

import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import t, { type Test } from 'tap';
import { seededRandom } from '../../src/base/random.ts';
import { byKey, byTask, Mesh, policyOf, serviceOf, startNode } from '../fixtures/proxy-node.ts';

const mesh = new Mesh();

/** Answers with the id and the length of the body that came, in a way that the request asks for. */
async function application(t: Test): Promise<number> {
  const server = createServer((incoming, response) => {
    let length = 0;
    incoming.on('data', (piece: Buffer) => {
      length += piece.length;
    });
    incoming.on('end', () => {
      const answer = `${incoming.headers['x-id']} ${length} ${'z'.repeat(Number(incoming.headers['x-size']))}`;
      if (incoming.headers['x-way'] === 'close') response.setHeader('connection', 'close');
      if (incoming.headers['x-way'] === 'length') response.setHeader('content-length', answer.length);
      response.write(answer.slice(0, 10));
      setImmediate(() => response.end(answer.slice(10)));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  t.teardown(() => server.closeAllConnections());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

interface Call {
  readonly id: string;
  readonly bytes: number;
  readonly size: number;
  readonly way: string;
  readonly path: string;
}

function call(port: number, agent: Agent, { id, bytes, size, way, path }: Call): Promise<[number, string]> {
  const proof = `Basic ${Buffer.from('client-1:secret-of-client').toString('base64')}`;
  const headers = { host: 'web', 'proxy-authorization': proof, 'x-id': id, 'x-size': size, 'x-way': way };
  return new Promise((resolve, reject) => {
    const options = { port, agent, method: bytes > 0 ? 'PUT' : 'GET', path: `http://web${path}`, headers };
    const outgoing = request(options, async response => {
      let body = '';
      for await (const piece of response) body += piece;
      resolve([response.statusCode ?? 0, body]);
    });
    outgoing.on('error', reject);
    outgoing.end(Buffer.alloc(bytes, 'b'));
  });
}

t.test('under pushes, moves and churn each caller gets its own answer, and the verdict that its path has', async t => {
  const random = seededRandom(99);
  const ports = [await application(t), await application(t)];
  const web = ports.map(appPort => mesh.workload('web', { appPort }));
  const [b, c] = [
    await startNode(t, { workloads: [...web.slice(0, 1)] }),
    await startNode(t, { workloads: web.slice(1) }),
  ];
  const documents = [
    serviceOf('web', [b.running.meshPort, c.running.meshPort]),
    serviceOf('web', [c.running.meshPort]),
    serviceOf('web', [b.running.meshPort, c.running.meshPort]),
  ];
  const a = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: documents.slice(0, 1),
  });
  const deny = () => policyOf('allow', { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/no*'] } }] }] });
  for (const node of [b, c]) node.policy.set(deny());
  const agent = new Agent({ keepAlive: true, maxSockets: 24 });
  t.teardown(() => agent.destroy());
  let wrong = 0;
  const worker = async (name: number) => {
    for (let i = 0; i < 60; i++) {
      const wanted: Call = {
        id: `${name}-${i}`,
        bytes: random() < 0.4 ? Math.floor(random() * 100_000) : 0,
        size: Math.floor(random() ** 4 * 200_000),
        way: ['chunked', 'length', 'close'][Math.floor(random() * 3)] ?? '',
        path: random() < 0.2 ? `/no/${i}` : `/yes/${i}`,
      };
      const [status, body] = await call(a.running.outboundPort, agent, wanted);
      const expected = `${wanted.id} ${wanted.bytes} ${'z'.repeat(wanted.size)}`;
      const right = wanted.path.startsWith('/no') ? status === 403 : status === 200 && body === expected;
      if (!right) wrong++;
      if (i % 5 === 0) for (const node of [b, c]) node.policy.set(deny());
      if (i % 7 === 0) a.services.set(byKey([documents[i % 3] ?? serviceOf('web', [])]));
      if (i % 11 === 0) b.workloads.set(byTask([mesh.workload('web', { appPort: ports[i % 2] ?? 0 })]));
    }
  };
  await Promise.all(Array.from({ length: 24 }, (_, name) => worker(name)));
  t.equal(wrong, 0);
  await a.recorded(24 * 60);
  t.equal(a.records.length, 24 * 60, 'one record for each call');
  t.same([...new Set(a.records.map(record => record.flags))], ['-']);
});

import { once } from 'node:events';
import { createServer } from 'node:http';
import autocannon from 'autocannon';
import t from 'tap';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { byTask, Mesh, startNode } from '../fixtures/proxy-node.ts';

const amount = 4_000;

t.test('autocannon gets its answer to every request', async t => {
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.end('the answer'));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const appPort = typeof address === 'object' && address !== null ? address.port : 0;
  const port = await new FreePorts().take();
  const node = await startNode(t, {});
  const application = { service: 'web.default', host: '127.0.0.1', port: appPort, protocol: 'http' } as const;
  node.workloads.set(byTask([{ ...new Mesh().workload('web', {}), published: [{ port, application }] }]));

  const result = await autocannon({
    url: `http://127.0.0.1:${port}/`,
    amount,
    connections: 16,
    method: 'POST',
    body: 'a question',
    expectBody: 'the answer',
    timeout: 60,
  });
  t.match(result, { '2xx': amount, non2xx: 0, errors: 0, timeouts: 0, mismatches: 0 });
  await node.recorded(amount);
  t.equal(node.records.filter(({ status, bytesReceived }) => status === 200 && bytesReceived === 10).length, amount);
});

import type { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { connect, createServer } from 'node:tls';
import t, { type Test } from 'tap';
import { hourMs } from '../../src/base/clock.ts';
import { renewTickets } from '../../src/proxy/session-tickets.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { Mesh } from '../fixtures/proxy-node.ts';

const mesh = new Mesh();

/** A server with mutual TLS that picks its certificate by server name, as the mesh port does. */
async function setUp(t: Test) {
  const clock = new FakeClock();
  const context = mesh.context('web');
  const server = createServer(
    {
      requestCert: true,
      rejectUnauthorized: true,
      sessionIdContext: 'test',
      SNICallback: (_, use) => use(null, context),
    },
    socket => socket.end('hello'),
  );
  t.ok(renewTickets(server, clock), 'this version of Node lets tickets be renewed');
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return { clock, port };
}

/** One connection; resolves to whether it was resumed, and to the last ticket it was given. */
async function visit(port: number, session: Buffer | undefined) {
  const socket = connect({
    host: '127.0.0.1',
    port,
    servername: 'web',
    secureContext: mesh.context('client'),
    checkServerIdentity: () => undefined,
    ...(session !== undefined && { session }),
  });
  let ticket: Buffer | undefined;
  socket.on('session', next => {
    ticket = next;
  });
  socket.resume();
  await once(socket, 'secureConnect');
  const resumed = socket.isSessionReused();
  await once(socket, 'close');
  return { resumed, ticket };
}

t.test('a client that uses each ticket once is resumed every time', async t => {
  const { port } = await setUp(t);
  let { ticket } = await visit(port, undefined);
  for (let i = 0; i < 6; i++) {
    const next = await visit(port, ticket);
    t.ok(next.resumed);
    t.ok(next.ticket !== undefined && ticket?.equals(next.ticket) === false, 'a ticket for the next time');
    ticket = next.ticket;
  }
});

t.test('the key of tickets changes each hour, and the one before is still good', async t => {
  const { clock, port } = await setUp(t);
  const { ticket } = await visit(port, undefined);
  await clock.advance(hourMs);
  const later = await visit(port, ticket);
  t.ok(later.resumed);
  await clock.advance(hourMs);
  t.ok((await visit(port, later.ticket)).resumed);
  t.notOk((await visit(port, ticket)).resumed);
});

t.test('a ticket is not good for longer where nobody came for a while', async t => {
  const { clock, port } = await setUp(t);
  const { ticket } = await visit(port, undefined);
  await clock.advance(2 * hourMs);
  t.notOk((await visit(port, ticket)).resumed);
});

t.test('a ticket of another server is none', async t => {
  const [one, other] = [await setUp(t), await setUp(t)];
  const { ticket } = await visit(one.port, undefined);
  t.notOk((await visit(other.port, ticket)).resumed);
});

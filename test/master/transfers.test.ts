import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import t, { type Test } from 'tap';
import { Transfers } from '../../src/master/api/transfers.ts';

const get = 'GET / HTTP/1.1\r\nHost: here\r\n\r\n';

/** A server whose answers the test gives. */
async function openServer(t: Test) {
  const asked: { readonly request: IncomingMessage; readonly response: ServerResponse }[] = [];
  const server = createServer((request, response) => {
    asked.push({ request, response });
    server.emit('asked');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  /** Sends `count` requests on a connection of their own, and waits for them. */
  const ask = async (count = 1) => {
    const from = asked.length;
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
    t.teardown(() => socket.destroy());
    socket.write(get.repeat(count));
    while (asked.length < from + count) await once(server, 'asked');
    return { socket, asked: asked.slice(from) };
  };
  return ask;
}

const ended = (over: AbortSignal) => (over.aborted ? Promise.resolve() : once(over, 'abort'));

t.test('who leaves gives back what was counted, whenever that is', async t => {
  const ask = await openServer(t);
  const transfers = new Transfers({ all: 2, ofAddress: 2 });
  const begin = ({ request, response }: { request: IncomingMessage; response: ServerResponse }) =>
    transfers.begin(request, response);
  // two on one connection, of which the second one waits for the first
  const { socket, asked } = await ask(2);
  const overs = asked.map(begin);
  const [late] = (await ask()).asked;
  if (late === undefined) throw new Error('it was asked for');
  t.throws(() => begin(late), { code: 'UNAVAILABLE', message: /^2 files are being sent, 2 to you/ });
  socket.destroy();
  await Promise.all(overs.map(ended));

  for (let round = 0; round < 3; round++) {
    const { socket, asked } = await ask();
    const over = asked.map(begin);
    socket.destroy();
    await Promise.all(over.map(ended));
    t.throws(() => asked.map(begin), { code: 'UNAVAILABLE' }, 'it has left');
  }
  const over = begin(late);
  late.response.end('all');
  await ended(over);
});

t.test('one address does not take what is there for all', async t => {
  const ask = await openServer(t);
  const transfers = new Transfers({ all: 4, ofAddress: 1 });
  const [first, second] = (await ask(2)).asked;
  if (first === undefined || second === undefined) throw new Error('both were asked for');
  const over = transfers.begin(first.request, first.response);
  t.throws(() => transfers.begin(second.request, second.response), { code: 'UNAVAILABLE', message: /1 to you/ });
  first.response.end('all');
  await ended(over);
  t.notOk(transfers.begin(second.request, second.response).aborted);
});

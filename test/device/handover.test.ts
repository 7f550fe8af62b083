import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/device/clock.ts';
import { startSuccessor } from '../../src/device/handover.ts';
import { callPort } from '../fixtures/call-port.ts';

// what takes over is the real other side, in a process of its own
const program = join(import.meta.dirname, '..', 'fixtures', 'successor-main.js');
const start = (...args: string[]) => startSuccessor({ clock: systemClock }, [program, ...args]);

async function listening(t: Test): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer(socket => socket.end('first'));
  t.teardown(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return { server, port: typeof address === 'object' && address !== null ? address.port : 0 };
}

t.test('a successor goes on with the sockets that it asks for', async t => {
  const { server, port } = await listening(t);
  t.equal(await callPort(port), 'first');
  const successor = start('serves');
  await successor.ready();
  t.equal(await callPort(port), 'first', 'until it is let in, nothing changes');
  await successor.begin(name => (name === 'mesh' ? server : undefined));
  server.close();
  t.equal(await callPort(port), 'second, outbound: none');
});

t.test('one that ends before it is ready is an error, and so is one that ends before it is up', async t => {
  await t.rejects(start('ends').ready(), {
    code: 'START_FAILED',
    message: /should take over has ended \(exit code 7\)$/,
  });
  const successor = start('fails');
  await successor.ready();
  await t.rejects(
    successor.begin(() => undefined),
    { code: 'START_FAILED', message: /should take over has ended \(exit code 8\)$/ },
  );
});

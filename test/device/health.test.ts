import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server } from 'node:net';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/device/clock.ts';
import { checkExec } from '../../src/device/exec-check.ts';
import { checkHealth, type HealthCheck } from '../../src/device/health.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

const never = new AbortController().signal;

async function portOf(t: Test, server: Server): Promise<number> {
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.teardown(() => server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const check = (port: number, changes: Partial<HealthCheck> = {}): HealthCheck => ({
  type: 'http',
  host: '127.0.0.1',
  port,
  path: '/',
  timeoutMs: 10_000,
  ...changes,
});

t.test('a status of 200 to 399 is healthy', async t => {
  const port = await portOf(
    t,
    createHttpServer((request, answer) => {
      answer.writeHead(Number(request.url?.slice(1)));
      answer.end('x'.repeat(100_000));
    }),
  );
  const healthy = async (status: number) =>
    (await checkHealth(systemClock, check(port, { path: `/${status}` }), never)).healthy;
  t.strictSame(await Promise.all([200, 204, 302, 399, 400, 404, 503].map(healthy)), [
    true,
    true,
    true,
    true,
    false,
    false,
    false,
  ]);
  t.strictSame(await checkHealth(systemClock, check(port, { path: '/503' }), never), {
    healthy: false,
    message: `GET /503 on port ${port}: status 503`,
  });
});

t.test('an open port is healthy, a closed one is not', async t => {
  const server = createServer(socket => socket.destroy());
  const port = await portOf(t, server);
  t.match(await checkHealth(systemClock, check(port, { type: 'tcp' }), never), { healthy: true });
  await new Promise(resolve => server.close(resolve));
  t.match(await checkHealth(systemClock, check(port, { type: 'tcp' }), never), {
    healthy: false,
    message: /ECONNREFUSED/,
  });
  t.match(await checkHealth(systemClock, check(port), never), { healthy: false, message: /ECONNREFUSED/ });
});

t.test('who does not answer in time is unhealthy', async t => {
  const clock = new FakeClock();
  const server = createServer();
  const port = await portOf(t, server);
  const accepted = once(server, 'connection');
  const result = checkHealth(clock, check(port, { timeoutMs: 2_000 }), never);
  await accepted;
  await clock.advance(2_000);
  t.match(await result, { healthy: false, message: /no answer in 2000 ms/ });
  t.equal(clock.sleepers, 0);
});

t.test('who answers something else is unhealthy', async t => {
  const port = await portOf(
    t,
    createServer(socket => socket.end('SSH-2.0-OpenSSH\r\n')),
  );
  t.match(await checkHealth(systemClock, check(port), never), { healthy: false });
});

t.test('an answer that is no last one is read over, and comes in any pieces', async t => {
  const port = await portOf(
    t,
    createServer(socket => {
      socket.on('error', () => {});
      socket.once('data', () => {
        socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 20');
        setImmediate(() => socket.write('4 No Content\r\nX: y\r\n\r\n'));
      });
    }),
  );
  t.match(await checkHealth(systemClock, check(port), never), { healthy: true, message: /status 204/ });
});

t.test('a head without an end is not read for ever', async t => {
  const port = await portOf(
    t,
    createServer(socket => {
      socket.on('error', () => {});
      socket.write(`HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(20_000)}`);
    }),
  );
  t.match(await checkHealth(systemClock, check(port), never), { healthy: false, message: /overflow/i });
});

t.test('an abort ends the asking', async t => {
  const clock = new FakeClock();
  const ending = new AbortController();
  const port = await portOf(
    t,
    createServer(() => ending.abort()),
  );
  t.match(await checkHealth(clock, check(port), ending.signal), { healthy: false, message: /not asked to the end/ });
  t.match(await checkHealth(clock, check(port), ending.signal), { healthy: false, message: /not asked/ });
  t.equal(clock.sleepers, 0);
});

t.test(
  'a program is well when it ends with 0, in the surroundings of its task; one that takes too long is ended',
  async t => {
    const cwd = t.testdir({ flag: '' });
    const clock = new FakeClock();
    const env = { PATH: '/usr/bin:/bin', A: 'b' };
    const ask = (script: string) =>
      checkExec(clock, { command: ['/bin/sh', '-c', script], env, cwd, timeoutMs: 2_000 }, never);
    t.match(await ask('test -e flag && test "$A" = b'), { healthy: true, message: '/bin/sh: exit code 0' });
    t.match(await ask('echo no route >&2; exit 3'), { healthy: false, message: '/bin/sh: exit code 3: no route' });
    const missing = { command: ['no-such-program'], env, cwd, timeoutMs: 2_000 };
    t.match(await checkExec(clock, missing, never), { healthy: false, message: /exit code 127/ });
    const slow = ask('sleep 1000');
    await clock.untilSleeping();
    await clock.advance(2_000);
    t.match(await slow, { healthy: false, message: /no end in 2000 ms/ });
    t.equal(clock.sleepers, 0);
  },
);

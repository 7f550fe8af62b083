import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import t from 'tap';
import { Deadlines } from '../../../src/proxy/deadlines.ts';
import type { ConnectionEvents } from '../../../src/proxy/upstream/connection.ts';
import { ConnectionBudget, Pool } from '../../../src/proxy/upstream/pool.ts';
import { Exchange } from '../../../src/proxy/wire/exchange.ts';
import { type Client, Forward } from '../../../src/proxy/wire/forward.ts';
import { Head } from '../../../src/proxy/wire/head.ts';
import { method } from '../../../src/proxy/wire/methods.ts';
import { WriteBuffers } from '../../../src/proxy/wire/write-buffers.ts';
import { newUsage } from '../../../src/traffic/breaker.ts';
import { defaultCluster } from '../../../src/traffic/cluster.ts';
import { compileRetries } from '../../../src/traffic/retry.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';
import { TestStream } from '../../fixtures/test-stream.ts';

/** A client whose request is whole; it is over once it has an answer of whatever kind. */
class TestClient implements Client {
  readonly exchange = new Exchange();
  readonly requestDone = true;
  readonly toHead = false;
  readonly isGrpc = false;
  readonly asksWebSocket = false;
  readonly minor = 1;
  readonly closing = false;
  over = 0;
  written = '';
  write(data: string | Buffer): boolean {
    this.written += data.toString('latin1');
    return true;
  }
  answer(): void {
    this.over++;
  }
  responseDone(): void {
    this.over++;
  }
  cutOff(): void {
    this.over++;
  }
  holdRequest(): void {}
  moreRequest(): void {}
  closeAfterwards(): void {}
  upgrade(): void {}
  progress(): void {}
}

function setUp(delayMs = 0, retries = true) {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock);
  const open = new Map<ConnectionEvents, TestStream | undefined>();
  const connector = {
    connect(events: ConnectionEvents) {
      open.set(events, undefined);
      return { destroy() {} };
    },
    recheck() {},
    close() {},
  };
  const load = { active: 0 };
  const used = newUsage();
  const bounds = { ...defaultCluster, breaker: { ...defaultCluster.breaker, maxConnections: 1 }, used };
  const pool = new Pool({ deadlines, budget: new ConnectionBudget(2), connector, load, bounds });
  const target = {
    maxAttempts: 3,
    choose: () => pool,
    beginRetry() {
      used.retries++;
      return true;
    },
    endRetry() {
      used.retries--;
    },
  };
  const parts = { clock, random: () => 0.5, responseHead: new Head(), writeBuffers: new WriteBuffers(deadlines) };
  const start = () => {
    const client = new TestClient();
    const forward = new Forward(client, parts);
    const retry = compileRetries({ attempts: 2, retryOn: '5xx', perTryTimeout: 100, retryIgnorePreviousHosts: false });
    client.exchange.target = target;
    client.exchange.delayMs = delayMs;
    if (retries) client.exchange.tries = { timeoutMs: 250, retry };
    forward.start('GET / HTTP/1.1\r\nhost: web\r\n\r\n', method.idempotent, false);
    return { client, forward };
  };
  return { clock, open, load, used, start };
}

const answers = {
  part: 'HTTP/1.1 200 OK\r\ncontent-',
  early: 'HTTP/1.1 103 Early Hints\r\n\r\n',
  ok: 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok',
  begun: 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok',
  failed: 'HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n',
  bad: 'what?\r\n\r\n',
};
const steps = ['connect', 'close', 'refuse', 'wait', 'start', 'abort', ...Object.keys(answers)];

t.test('whatever happens to requests, each is over once, and nothing of them is counted behind that', async t => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...steps), { maxLength: 25 }),
      fc.constantFrom(0, 50),
      async (sequence, delayMs) => {
        const { clock, open, load, used, start } = setUp(delayMs);
        const requests = [start(), start()];
        const close = (events: ConnectionEvents) => {
          open.delete(events);
          events.onClosed(true);
        };
        for (const step of sequence) {
          const [first] = open;
          if (step === 'start') requests.push(start());
          else if (step === 'wait') await clock.advance(60);
          else if (step === 'abort') {
            const request = requests.find(({ client }) => client.over === 0);
            request?.forward.abort();
            if (request !== undefined) request.client.over++;
          } else if (first === undefined) continue;
          else if (step === 'connect') {
            if (first[1] !== undefined) continue;
            const stream = new TestStream();
            open.set(first[0], stream);
            first[0].onConnected(stream);
          } else if (step === 'close' || step === 'refuse') {
            if (first[1] !== undefined) first[1].refused = step === 'refuse';
            close(first[0]);
          } else if (first[1] !== undefined) {
            const bytes = Buffer.from(Object.entries(answers).find(([name]) => name === step)?.[1] ?? '');
            first[0].onBytes(bytes.length, bytes);
          }
        }
        for (const { client, forward } of requests) {
          if (client.over > 0) continue;
          forward.abort();
          client.over++;
        }
        await clock.advance(1000);
        for (const events of [...open.keys()]) close(events);
        t.same(
          requests.map(({ client }) => client.over),
          requests.map(() => 1),
        );
        t.same({ load, used }, { load: { active: 0 }, used: newUsage() });
      },
    ),
    { numRuns: 1000 },
  );
});

t.test('a stream that says it was refused after it has answered in part is not sent elsewhere', t => {
  const { open, start } = setUp(0, false);
  const { client } = start();
  const [events] = open.keys();
  if (events === undefined) throw new Error('no connection');
  const stream = new TestStream();
  events.onConnected(stream);
  const bytes = Buffer.from(answers.part);
  events.onBytes(bytes.length, bytes);
  stream.refused = true;
  open.delete(events);
  events.onClosed(true);
  t.equal(open.size, 0);
  t.equal(client.over, 1);
  t.equal(client.exchange.flag, 'UC');
  t.end();
});

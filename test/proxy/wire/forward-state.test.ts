import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import t from 'tap';
import { silentLog } from '../../../src/base/log.ts';
import { seededRandom } from '../../../src/base/random.ts';
import { Deadlines } from '../../../src/proxy/deadlines.ts';
import { ServiceTarget } from '../../../src/proxy/egress/service-target.ts';
import type { ConnectionEvents } from '../../../src/proxy/upstream/connection.ts';
import { Endpoints, type PoolAddress } from '../../../src/proxy/upstream/endpoints.ts';
import { ConnectionBudget, Pool } from '../../../src/proxy/upstream/pool.ts';
import { Exchange } from '../../../src/proxy/wire/exchange.ts';
import { type Client, Forward } from '../../../src/proxy/wire/forward.ts';
import { Head } from '../../../src/proxy/wire/head.ts';
import { method } from '../../../src/proxy/wire/methods.ts';
import { Mirrors } from '../../../src/proxy/wire/mirror.ts';
import { WriteBuffers } from '../../../src/proxy/wire/write-buffers.ts';
import { newUsage } from '../../../src/traffic/breaker.ts';
import { defaultCluster } from '../../../src/traffic/cluster.ts';
import { compileRetries } from '../../../src/traffic/retry.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';
import { Mesh, serviceOf } from '../../fixtures/proxy-node.ts';
import { TestStream } from '../../fixtures/test-stream.ts';

/** A client whose request is whole; it is over once it has an answer of whatever kind. */
class TestClient implements Client {
  readonly exchange = new Exchange();
  requestDone = true;
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

const caller = new Mesh().workload('client', {});
const budgetOfOne = { percent: 20, minConcurrency: 1 };

/** Three hosts as one cluster, with a bound of connections and a budget of one retry. */
function setUpCluster(maxConnections: number) {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock);
  const open = new Map<ConnectionEvents, TestStream>();
  const hosts = new Set<PoolAddress>();
  const budget = new ConnectionBudget(16);
  const makePool = (to: PoolAddress) => {
    hosts.add(to);
    const connector = {
      connect(events: ConnectionEvents) {
        const stream = new TestStream();
        stream.on('close', () => open.delete(events) && setImmediate(() => events.onClosed(true)));
        open.set(events, stream);
        return stream;
      },
      recheck() {},
      close() {},
    };
    return new Pool({ deadlines, budget, connector, load: to.load, bounds: to.bounds, onOutcome: to.onOutcome });
  };
  const breaker = { ...defaultCluster.breaker, maxConnections, retries: budgetOfOne };
  const parts = { deadlines, random: seededRandom(3), log: silentLog, makePool };
  const target = new ServiceTarget(
    caller,
    new Endpoints(parts, { ...defaultCluster, breaker }, serviceOf('web', [1, 2, 3])),
  );
  const forwarding = { clock, random: () => 0.5, responseHead: new Head(), writeBuffers: new WriteBuffers(deadlines) };
  const mirrors = new Mirrors(forwarding, deadlines);
  const retry = compileRetries({
    attempts: 2,
    retryOn: '5xx,reset',
    perTryTimeout: 100,
    retryIgnorePreviousHosts: true,
  });
  let count = 0;
  const start = (isMirrored = true) => {
    const client = new StreamingClient();
    const forward = new Forward(client, forwarding);
    const head = `POST /${count++} HTTP/1.1\r\nhost: web\r\ncontent-length: 6\r\n\r\n`;
    client.exchange.target = target;
    // a route without rules has none
    if (count % 2 === 1 || !isMirrored) client.exchange.tries = { timeoutMs: 250, retry };
    const mirror = isMirrored
      ? mirrors.start({ target, task: caller.task, additions: '' }, head, 0, true, false)
      : undefined;
    forward.start(head, 0, true);
    return { client, forward, mirror, left: [...body] };
  };
  return { clock, open, hosts, start };
}

const body = ['aa', 'bb', 'cc'];
const whole = new RegExp(
  `POST /\\d+ HTTP/1\\.1\\r\\nhost: web\\r\\ncontent-length: 6\\r\\n\\r\\n${body.join('')}`,
  'g',
);

/** A client whose body is to come, and which says no more while it is held. */
class StreamingClient extends TestClient {
  override requestDone = false;
  isHeld = false;
  override holdRequest(): void {
    this.isHeld = true;
  }
  override moreRequest(): void {
    this.isHeld = false;
  }
}

const clusterSteps = [...steps, 'send', 'send', 'full', 'drain'];

t.test(
  'bodies that come bit by bit reach hosts and mirrors in order, whatever happens, and nothing stays counted',
  async t => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(...clusterSteps), fc.nat(5)), { maxLength: 40 }),
        async list => {
          const { clock, open, hosts, start } = setUpCluster(3);
          const requests = [start(), start()];
          const streams = new Set<TestStream>();
          for (const [step, which] of list) {
            const [events, stream] = [...open][which % Math.max(1, open.size)] ?? [];
            const request = requests.filter(({ client }) => client.over === 0)[which % 2];
            if (step === 'start') requests.push(start());
            else if (step === 'wait') await clock.advance(60);
            else if (step === 'abort' && request !== undefined) {
              request.forward.abort();
              request.mirror?.abort();
              request.client.over++;
            } else if (step === 'send' && request?.client.isHeld === false && request.left.length > 0) {
              const piece = Buffer.from(request.left.shift() ?? '');
              request.client.requestDone = request.left.length === 0;
              request.mirror?.send(piece, request.client.requestDone);
              request.forward.send(piece);
            } else if (events === undefined || stream === undefined) continue;
            else if (step === 'connect') {
              if (streams.has(stream)) continue;
              streams.add(stream);
              events.onConnected(stream);
            } else if (step === 'full') stream.writableNeedDrain = true;
            else if (step === 'drain') stream.drain();
            else if (step === 'close' || step === 'refuse') {
              stream.refused = step === 'refuse';
              stream.destroy();
            } else if (streams.has(stream)) {
              const bytes = Buffer.from(Object.entries(answers).find(([name]) => name === step)?.[1] ?? '');
              if (bytes.length > 0) events.onBytes(bytes.length, bytes);
            }
            await new Promise(resolve => setImmediate(resolve));
          }
          for (const { client, forward, mirror } of requests) {
            mirror?.abort();
            if (client.over > 0) continue;
            forward.abort();
            client.over++;
          }
          for (const stream of [...open.values()]) stream.destroy();
          await new Promise(resolve => setImmediate(resolve));
          await clock.advance(1000);
          for (const { written } of streams) {
            const rest = written.replace(whole, '').replace(/^POST \/\d+ /, 'POST /0 ');
            if (!`POST /0 HTTP/1.1\r\nhost: web\r\ncontent-length: 6\r\n\r\n${body.join('')}`.startsWith(rest))
              t.equal(written, '');
          }
          t.same([...new Set(requests.map(({ client }) => client.over))], [1]);
          for (const { load, bounds } of hosts) t.same([load.active, bounds.used], [0, newUsage()]);
        },
      ),
      { numRuns: 500 },
    );
  },
);

t.test('a retry that the budget does not allow is not made, and the log says so', t => {
  const { open, start } = setUpCluster(16);
  const requests = [start(false), start(false), start(false)];
  for (const { client, forward } of requests) {
    client.requestDone = true;
    forward.send(Buffer.from(body.join('')));
  }
  for (const [events, stream] of [...open]) {
    events.onConnected(stream);
    const bytes = Buffer.from(answers.failed);
    events.onBytes(bytes.length, bytes);
  }
  const flags = requests.map(({ client }) => [client.over, client.exchange.note]);
  t.same(
    flags.filter(([over]) => over === 1).map(([, note]) => note),
    ['UO', 'UO'],
  );
  t.equal(flags.filter(([over]) => over === 0).length, 1, 'one is tried again');
  t.end();
});

t.test('a stream over a connection that was there before and dies is asked for again once; a fresh one is not', t => {
  for (const joins of [true, false]) {
    const { open, load, start } = setUp(0, false);
    const { client } = start();
    const [first] = open.keys();
    first?.onConnected(new TestStream(), joins);
    first?.onClosed(true);
    t.equal(client.over, joins ? 0 : 1);
    t.equal(open.size, joins ? 2 : 1);
    const [, second] = open.keys();
    second?.onConnected(new TestStream(), true);
    second?.onClosed(true);
    t.same([client.over, open.size, load.active], [1, joins ? 2 : 1, 0]);
  }
  t.end();
});

import t from 'tap';
import { secondMs } from '../../../src/base/clock.ts';
import { Deadlines } from '../../../src/proxy/deadlines.ts';
import { ConnectionBudget, Pool } from '../../../src/proxy/upstream/pool.ts';
import { Exchange } from '../../../src/proxy/wire/exchange.ts';
import { TcpConnection } from '../../../src/proxy/wire/tcp.ts';
import { WriteBuffers } from '../../../src/proxy/wire/write-buffers.ts';
import { newUsage } from '../../../src/traffic/breaker.ts';
import { defaultCluster } from '../../../src/traffic/cluster.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';
import { TestStream } from '../../fixtures/test-stream.ts';

t.test('a client that waits for a connection is given up after the idle time', async t => {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock);
  const connector = { connect: () => ({ destroy() {} }), recheck() {}, close() {} };
  const load = { active: 0 };
  const bounds = { ...defaultCluster, breaker: { ...defaultCluster.breaker, maxConnections: 1 }, used: newUsage() };
  const pool = new Pool({ deadlines, budget: new ConnectionBudget(4), connector, load, bounds });
  const target = { maxAttempts: 1, choose: () => pool, beginRetry: () => false, endRetry() {} };
  const parts = { deadlines, writeBuffers: new WriteBuffers(deadlines), idleMs: 5 * secondMs, lingerMs: secondMs };
  const over: string[] = [];
  for (const name of ['connecting', 'waiting']) {
    const onOver = () => over.push(name);
    const exchange = new Exchange();
    exchange.target = target;
    new TcpConnection(parts, new TestStream(), { exchange, asksInHttp: false, onOver });
  }
  t.equal(bounds.used.pending, 1);
  for (let second = 0; second < 7; second++) await clock.advance(secondMs);
  t.same(over, ['connecting', 'waiting']);
  t.same([load.active, bounds.used.pending, bounds.used.requests], [0, 0, 0]);
});

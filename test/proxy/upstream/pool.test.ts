import { once } from 'node:events';
import t, { type Test } from 'tap';
import { secondMs } from '../../../src/base/clock.ts';
import { Deadlines } from '../../../src/proxy/deadlines.ts';
import type { Unavailable } from '../../../src/proxy/respond.ts';
import type { ConnectionEvents, Upstream, UpstreamUser } from '../../../src/proxy/upstream/connection.ts';
import { plainConnector } from '../../../src/proxy/upstream/plain-connector.ts';
import { ConnectionBudget, noAnswer, Pool } from '../../../src/proxy/upstream/pool.ts';
import { newUsage } from '../../../src/traffic/breaker.ts';
import { defaultCluster } from '../../../src/traffic/cluster.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';
import { rawOrigin } from '../../fixtures/proxy-node.ts';
import { TestStream } from '../../fixtures/test-stream.ts';

/** A user that shows what happened to it. */
class TestUser implements UpstreamUser {
  readonly ready: Promise<Upstream>;
  unavailable: Unavailable | undefined;
  closed = false;
  #resolve: (upstream: Upstream) => void = () => {};

  constructor(source = '') {
    this.source = source;
    this.ready = new Promise(resolve => {
      this.#resolve = resolve;
    });
  }

  readonly source: string;

  onReady(upstream: Upstream): void {
    this.#resolve(upstream);
  }
  onUnavailable(why: Unavailable): void {
    this.unavailable = why;
  }
  onBytes(): void {}
  onDrain(): void {}
  onEnd(): void {}
  onClosed(): void {
    this.closed = true;
  }
}

async function pools(t: Test, count: number, limit: number, maxPending = 2, ofOneSource?: number) {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock);
  const budget = new ConnectionBudget(limit);
  const load = { active: 0 };
  const outcomes: number[] = [];
  const origin = await rawOrigin(t, (socket, text) => socket.write(text));
  const connector = plainConnector('127.0.0.1', origin.port, Buffer.alloc(1024));
  const breaker = { ...defaultCluster.breaker, maxPending };
  const connections = { ...defaultCluster.connections, idleMs: 4 * secondMs };
  const bounds = { breaker, connections, used: newUsage() };
  const onOutcome = (status: number) => outcomes.push(status);
  const parts = {
    deadlines,
    budget,
    connector,
    load,
    bounds,
    onOutcome,
    ...(ofOneSource !== undefined && { ofOneSource }),
  };
  const list = Array.from({ length: count }, () => new Pool(parts));
  const poolOf = (caller: string) => new Pool({ ...parts, caller });
  t.teardown(() => budget.close());
  return { clock, poolOf, bounds, budget, load, outcomes, origin, list };
}

t.test('the connection used last is used next, and an idle one closes after its time', async t => {
  const { clock, budget, load, list } = await pools(t, 1, 8);
  const [pool] = list;
  if (pool === undefined) throw new Error('no pool');
  const users = [new TestUser(), new TestUser()];
  for (const user of users) t.equal(pool.acquire(user, false), undefined);
  const [first, second] = await Promise.all(users.map(user => user.ready));
  if (first === undefined || second === undefined) throw new Error('no connections');
  t.equal(load.active, 2);
  pool.release(first, true);
  pool.release(second, true);
  t.equal(load.active, 0);
  const again = new TestUser();
  pool.acquire(again, false);
  t.equal(await again.ready, second);
  t.equal(second.served, 1);
  await clock.advance(6 * secondMs);
  while (budget.open > 1) await new Promise(resolve => setImmediate(resolve));
  pool.release(second, false);
  while (budget.open > 0) await new Promise(resolve => setImmediate(resolve));
});

t.test('beyond the bound requests wait in order, and beyond that they are refused', async t => {
  const { load, list } = await pools(t, 1, 1);
  const [pool] = list;
  if (pool === undefined) throw new Error('no pool');
  const users = [new TestUser(), new TestUser(), new TestUser(), new TestUser()];
  t.same(
    users.map(user => pool.acquire(user, false)),
    [undefined, undefined, undefined, 'overflow'],
  );
  t.equal(load.active, 3);
  const upstream = await users[0]?.ready;
  if (upstream === undefined || users[2] === undefined) throw new Error('no connection');
  pool.cancel(users[2]);
  t.equal(load.active, 2);
  pool.release(upstream, true);
  t.equal(await users[1]?.ready, upstream);
});

t.test('a connection that cannot be used again makes way for one who waits', async t => {
  const { list } = await pools(t, 1, 1);
  const [pool] = list;
  if (pool === undefined) throw new Error('no pool');
  const [one, two] = [new TestUser(), new TestUser()];
  pool.acquire(one, false);
  pool.acquire(two, false);
  const upstream = await one.ready;
  pool.release(upstream, false);
  t.not(await two.ready, upstream);
});

t.test('a pool takes the idle connection of another when all are spent', async t => {
  const { budget, list } = await pools(t, 2, 1);
  const [a, b] = list;
  if (a === undefined || b === undefined) throw new Error('no pools');
  const [one, two, three] = [new TestUser(), new TestUser(), new TestUser()];
  a.acquire(one, false);
  const upstream = await one.ready;
  t.equal(b.acquire(two, false), 'overflow', 'a busy one is not taken');
  a.release(upstream, true);
  t.equal(b.acquire(three, false), undefined);
  t.ok(await three.ready);
  t.equal(budget.open, 1);
});

t.test('a host that refuses is told to its user and counted as a failure', async t => {
  const { load, outcomes, origin, list, budget } = await pools(t, 1, 4);
  const [pool] = list;
  if (pool === undefined) throw new Error('no pool');
  await origin.close();
  const user = new TestUser();
  pool.acquire(user, false);
  while (user.unavailable === undefined) await new Promise(resolve => setImmediate(resolve));
  t.equal(user.unavailable, 'connection-failure');
  t.same([outcomes, load.active, budget.open], [[noAnswer], 0, 0]);
});

t.test('an idle connection that speaks or ends is not used again', async t => {
  const { origin, list, budget } = await pools(t, 1, 4);
  const [pool] = list;
  if (pool === undefined) throw new Error('no pool');
  for (const disturb of ['speak', 'end']) {
    const user = new TestUser();
    pool.acquire(user, true);
    const upstream = await user.ready;
    while (origin.connections.size === 0) await new Promise(resolve => setImmediate(resolve));
    const [socket] = origin.connections;
    if (socket === undefined) throw new Error('no connection');
    pool.release(upstream, true);
    if (disturb === 'speak') socket.write('HTTP/1.1 200 OK\r\n\r\n');
    else socket.end();
    await once(socket, 'close');
    while (budget.open > 0) await new Promise(resolve => setImmediate(resolve));
  }
});

t.test('with one connection and one place to wait, the third of three requests is refused', async t => {
  const { bounds, list } = await pools(t, 1, 8);
  const [pool] = list;
  if (pool === undefined) throw new Error('no pool');
  bounds.breaker = { ...bounds.breaker, maxConnections: 1, maxPending: 1 };
  const users = [new TestUser(), new TestUser(), new TestUser()];
  t.same(
    users.map(user => pool.acquire(user, false)),
    [undefined, undefined, 'overflow'],
  );
  t.same(bounds.used, { connections: 1, pending: 1, requests: 1, retries: 0 });
  const upstream = await users[0]?.ready;
  if (upstream === undefined) throw new Error('no connection');
  pool.release(upstream, true);
  t.equal(await users[1]?.ready, upstream);
  pool.release(upstream, true);
  t.same(bounds.used, { connections: 1, pending: 0, requests: 0, retries: 0 });
});

t.test('the bound of connections is one for all hosts of a service, and leaves each host one', async t => {
  const { bounds, list } = await pools(t, 2, 8);
  const [a, b] = list;
  if (a === undefined || b === undefined) throw new Error('no pools');
  bounds.breaker = { ...bounds.breaker, maxConnections: 1 };
  for (const pool of [a, b, a, b]) t.equal(pool.acquire(new TestUser(), false), undefined);
  t.same([bounds.used.connections, bounds.used.pending], [2, 2]);
});

t.test('requests beyond maxRequests are refused though there are connections', async t => {
  const { bounds, list } = await pools(t, 1, 8);
  const [pool] = list;
  if (pool === undefined) throw new Error('no pool');
  bounds.breaker = { ...bounds.breaker, maxRequests: 2 };
  const users = [new TestUser(), new TestUser(), new TestUser()];
  t.same(
    users.map(user => pool.acquire(user, false)),
    [undefined, undefined, 'overflow'],
  );
});

t.test('a connection serves as many requests as it may, and no longer than it may', async t => {
  const { clock, bounds, budget, list } = await pools(t, 1, 8);
  const [pool] = list;
  if (pool === undefined) throw new Error('no pool');
  const take = async () => {
    const user = new TestUser();
    pool.acquire(user, false);
    return user.ready;
  };
  bounds.connections = { ...bounds.connections, maxRequests: 2 };
  const first = await take();
  pool.release(first, true);
  t.equal(await take(), first);
  pool.release(first, true);
  const second = await take();
  t.not(second, first, 'after two requests');
  bounds.connections = { ...defaultCluster.connections, maxAgeMs: 3 * secondMs };
  pool.release(second, true);
  t.equal(await take(), second);
  await clock.advance(3 * secondMs);
  pool.release(second, true);
  t.not(await take(), second, 'after three seconds');
  while (budget.open > 1) await new Promise(resolve => setImmediate(resolve));
});

t.test('a connection that does not come about in time is given up, to the millisecond', async t => {
  const { clock, bounds, list, outcomes } = await pools(t, 1, 8);
  const [pool] = list;
  if (pool === undefined) throw new Error('no pool');
  bounds.connections = { ...bounds.connections, connectTimeoutMs: 20 };
  const user = new TestUser();
  pool.acquire(user, false);
  // the fake clock is faster than the connection, whose events wait for the next turn
  await clock.advance(20);
  while (user.unavailable === undefined) await new Promise(resolve => setImmediate(resolve));
  t.same([user.unavailable, outcomes], ['connection-failure', [noAnswer]]);
});

t.test('a source that has its part waits for itself, and others are served meanwhile', async t => {
  const { budget, bounds, list } = await pools(t, 1, 4, 8, 2);
  const [pool] = list;
  if (pool === undefined) throw new Error('no pool');
  const greedy = Array.from({ length: 4 }, () => new TestUser('greedy'));
  for (const user of greedy) t.equal(pool.acquire(user, false), undefined);
  t.same([budget.open, bounds.used.pending], [2, 2]);
  const other = new TestUser('other');
  t.equal(pool.acquire(other, false), undefined);
  pool.release(await other.ready, true);
  t.equal(bounds.used.pending, 2, 'what the other one gives back is not for the greedy one');
  const [first, second] = await Promise.all(greedy.slice(0, 2).map(user => user.ready));
  if (first === undefined || second === undefined) throw new Error('no connections');
  pool.release(first, true);
  t.equal(await greedy[2]?.ready, first, 'what it gives back itself is');
  pool.release(second, false);
  await greedy[3]?.ready;
  t.same([budget.open, bounds.used.pending], [3, 0]);
});

t.test('who needs a fresh connection does not wait behind one that rests', async t => {
  const { bounds, list } = await pools(t, 1, 8);
  const [pool] = list;
  if (pool === undefined) throw new Error('no pool');
  bounds.breaker = { ...bounds.breaker, maxConnections: 1 };
  const first = new TestUser();
  pool.acquire(first, false);
  const used = await first.ready;
  pool.release(used, true);
  const second = new TestUser();
  t.equal(pool.acquire(second, true), undefined);
  t.same(bounds.used, { connections: 1, pending: 0, requests: 1, retries: 0 });
  t.not(await second.ready, used);
});

t.test('a connection of which nobody has made use is as good as a fresh one', async t => {
  const opened: ConnectionEvents[] = [];
  const connector = {
    connect(events: ConnectionEvents) {
      opened.push(events);
      return { destroy() {} };
    },
    recheck() {},
    close() {},
  };
  const bounds = { ...defaultCluster, used: newUsage() };
  const deadlines = new Deadlines(new FakeClock());
  const pool = new Pool({ deadlines, budget: new ConnectionBudget(4), connector, load: { active: 0 }, bounds });
  const gone = new TestUser();
  pool.acquire(gone, true);
  pool.cancel(gone);
  opened[0]?.onConnected(new TestStream());
  const user = new TestUser();
  pool.acquire(user, true);
  await user.ready;
  t.equal(opened.length, 1);
});

t.test('one task has at most half of all connections, and of its idle ones those that it needs elsewhere', async t => {
  const { budget, poolOf } = await pools(t, 0, 4);
  const [a, b, other] = [poolOf('greedy'), poolOf('greedy'), poolOf('other')];
  const users = [new TestUser(), new TestUser(), new TestUser()];
  t.same(
    users.map(user => a.acquire(user, false)),
    [undefined, undefined, undefined],
  );
  t.equal(budget.open, 2, 'the third waits');
  t.equal(b.acquire(new TestUser(), false), 'overflow', 'at another host there is nothing to wait for');
  for (let i = 0; i < 2; i++) t.equal(other.acquire(new TestUser(), false), undefined);
  t.equal(budget.open, 4);
  const first = await users[0]?.ready;
  if (first === undefined) throw new Error('no connection');
  a.release(first, true);
  t.equal(await users[2]?.ready, first);
  a.release(first, true);
  const elsewhere = new TestUser();
  t.equal(b.acquire(elsewhere, false), undefined);
  await elsewhere.ready;
  t.equal(budget.open, 4, 'for an idle one of its own');
});

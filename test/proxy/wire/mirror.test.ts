import { Buffer } from 'node:buffer';
import t from 'tap';
import { Deadlines } from '../../../src/proxy/deadlines.ts';
import type { ConnectionEvents } from '../../../src/proxy/upstream/connection.ts';
import { ConnectionBudget, Pool } from '../../../src/proxy/upstream/pool.ts';
import { Head } from '../../../src/proxy/wire/head.ts';
import { Mirrors } from '../../../src/proxy/wire/mirror.ts';
import { WriteBuffers } from '../../../src/proxy/wire/write-buffers.ts';
import { newUsage } from '../../../src/traffic/breaker.ts';
import { defaultCluster } from '../../../src/traffic/cluster.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';
import { TestStream } from '../../fixtures/test-stream.ts';

const head = 'POST / HTTP/1.1\r\nhost: web-shadow\r\ncontent-length: 6\r\n\r\n';
const answer = Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');

/** A copy of a request of which the body is to come, and the connection that is being opened for it. */
function mirrored() {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock);
  const opened: ConnectionEvents[] = [];
  const connector = {
    connect(events: ConnectionEvents) {
      opened.push(events);
      return { destroy() {} };
    },
    recheck() {},
    close() {},
  };
  const load = { active: 0 };
  const used = newUsage();
  const bounds = { ...defaultCluster, used };
  const pool = new Pool({ deadlines, budget: new ConnectionBudget(4), connector, load, bounds });
  const target = { maxAttempts: 1, choose: () => pool, beginRetry: () => false, endRetry() {} };
  const copyOf = (task: string) => ({ target, task, additions: '' });
  const parts = { clock, random: () => 0, responseHead: new Head(), writeBuffers: new WriteBuffers(deadlines) };
  const mirrors = new Mirrors(parts, deadlines);
  const start = (task: string) => mirrors.start(copyOf(task), head, 0, true, false);
  const mirror = start('web-1');
  const [events] = opened;
  if (mirror === undefined || events === undefined) throw new Error('no copy');
  return { mirror, start, events, load, used, stream: new TestStream() };
}

t.test('a body that came whole while the connection was opened is sent when it is there', t => {
  const { mirror, events, stream, load, used } = mirrored();
  mirror.send(Buffer.from('abc'), false);
  mirror.send(Buffer.from('def'), true);
  events.onConnected(stream);
  t.equal(stream.written, `${head}abcdef`);
  events.onBytes(answer.length, answer);
  t.notOk(stream.destroyed, 'used again');
  t.same([load.active, used.requests, used.pending], [0, 0, 0]);
  t.end();
});

t.test('a host that answers before it has the whole body gets no other request on that connection', t => {
  const { mirror, events, stream, load, used } = mirrored();
  stream.writableNeedDrain = true;
  events.onConnected(stream);
  mirror.send(Buffer.from('abc'), false);
  mirror.send(Buffer.from('def'), true);
  t.equal(stream.written, head);
  events.onBytes(answer.length, answer);
  t.ok(stream.destroyed);
  t.same([load.active, used.requests, used.pending], [0, 0, 0]);
  t.end();
});

t.test('a slow host gets the body in its order', t => {
  const { mirror, events, stream } = mirrored();
  stream.writableNeedDrain = true;
  events.onConnected(stream);
  for (const piece of ['ab', 'cd']) mirror.send(Buffer.from(piece), false);
  mirror.send(Buffer.from('ef'), true);
  stream.drain();
  t.equal(stream.written, `${head}abcdef`);
  t.end();
});

t.test('one task has at most half of the copies that may be under way', t => {
  const { mirror, start } = mirrored();
  const others = Array.from({ length: 32 }, () => start('web-1'));
  t.equal(others.filter(other => other !== undefined).length, 31);
  t.ok(start('shop-1'), 'there are places for others');
  mirror.abort();
  t.ok(start('web-1'), 'and one again when one is over');
  t.notOk(start('web-1'));
  t.end();
});

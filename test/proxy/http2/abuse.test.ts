import type { Socket } from 'node:net';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { minuteMs, secondMs } from '../../../src/base/clock.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';
import { fieldBlock, flag, frame, get, number, RawHttp2, type } from '../../fixtures/http2-frames.ts';
import { Mesh, rawOrigin, startNode } from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();
const ended = flag.endStream;
const calm = 11;
const refused = 7;

/** A node whose application answers requests without a body, except `/slow`. */
async function stage(t: Test, clock?: FakeClock) {
  const origin = await rawOrigin(t, (socket: Socket, text: string) => {
    if (/GET \/ HTTP\/1.1(\r\n.+)+\r\n\r\n$/.test(text)) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const workloads = [mesh.workload('web', { appPort: origin.port })];
  const node = await startNode(t, { workloads, ...(clock !== undefined && { clock }) });
  const open = (settings?: Buffer) => RawHttp2.open(t, mesh, 'client', node, settings);
  return { node, origin, open };
}

const slow: typeof get = get.map(([name, value]) => [name, name === ':path' ? '/slow' : value]);
const post: typeof get = [...slow.slice(1), [':method', 'POST']];

t.test('requests that are taken back at once, whatever the way, end the connection', async t => {
  const { open } = await stage(t);
  const reset = (code: number) => (client: RawHttp2, stream: number) => {
    client.headers(stream, slow, ended);
    client.write(frame(type.reset, 0, stream, number(code)));
  };
  // the others have the server reset what it has begun to work for
  const ways: Readonly<Record<string, (client: RawHttp2, stream: number) => void>> = {
    cancelled: reset(8),
    'without an error': reset(0),
    'as if refused': reset(refused),
    'a window of nothing': (client, stream) => {
      client.headers(stream, slow, ended);
      client.write(frame(type.windowUpdate, 0, stream, number(0)));
    },
    'a window beyond all bounds': (client, stream) => {
      client.headers(stream, slow, ended);
      client.write(frame(type.windowUpdate, 0, stream, number(2 ** 31 - 1)));
    },
    'more than its length': (client, stream) => {
      client.headers(stream, [...post, ['content-length', '1']], 0);
      client.write(frame(type.data, 0, stream, Buffer.from('xx')));
    },
  };
  for (const [name, take] of Object.entries(ways)) {
    const client = await open();
    for (let made = 0; made < 400 && !client.closed; made++) {
      take(client, 2 * made + 1);
      await new Promise(resolve => setImmediate(resolve));
    }
    t.not(await client.gone(), 0, name);
  }
});

t.test('pings and settings without end, empty frames and endless heads end the connection', async t => {
  const { open } = await stage(t);
  const floods: Readonly<Record<string, (i: number) => Buffer>> = {
    pings: () => frame(type.ping, 0, 0, Buffer.alloc(8)),
    settings: () => frame(type.settings, 0, 0),
    'empty data': i => (i === 0 ? frame(type.headers, flag.endHeaders, 1, fieldBlock(post)) : frame(type.data, 0, 1)),
    'a head without end': i => {
      const block = fieldBlock([...(i === 0 ? get : []), [`x${i}`, 'y'.repeat(1000)]]);
      return i === 0 ? frame(type.headers, 0, 1, block) : frame(type.continuation, 0, 1, block);
    },
    'empty continuations': i => (i === 0 ? frame(type.headers, 0, 1, fieldBlock(get)) : frame(type.continuation, 0, 1)),
  };
  for (const [name, make] of Object.entries(floods)) {
    const client = await open();
    for (let i = 0; i < 3000 && !client.closed; i++) {
      client.write(make(i));
      if (i % 20 === 0) await new Promise(resolve => setImmediate(resolve));
    }
    t.not(await client.gone(), 0, name);
  }
});

t.test('more than 100 open requests are refused, or end the connection of a client that knew the bound', async t => {
  const { open } = await stage(t);
  const client = await open();
  for (let i = 0; i < 101; i++) client.headers(2 * i + 1, slow, ended);
  t.equal(await client.outcome(201), refused);
  t.equal(client.frames.filter(each => each.type === type.reset).length, 1);
  client.write(frame(type.settings, flag.ack, 0));
  client.headers(203, slow, ended);
  t.equal(await client.outcome(203), 'closed');
});

t.test('a head beyond the bounds is refused, and the connection goes on', async t => {
  const { open, origin } = await stage(t);
  const client = await open();
  client.headers(1, [...get, ['x', 'y'.repeat(16_400)]], ended);
  t.match(await client.outcome(1), /the head is larger than 16 KiB/);
  client.headers(3, [...get, ...Array.from({ length: 101 }, (_, i) => [`x${i}`, '1'] as const)], ended);
  t.match(await client.outcome(3), /more than 100 headers/);
  client.headers(5, [...get, ...Array.from({ length: 300 }, (_, i) => [`x${i}`, '1'] as const)], ended);
  t.equal(await client.outcome(5), calm);
  client.headers(7, get, ended);
  t.equal(await client.outcome(7), 'ok');
  t.equal(origin.seen().match(/^GET /gm)?.length, 1);
});

t.test('a connection without requests is ended after a minute, one with a half-sent head too', async t => {
  const clock = new FakeClock(Date.now());
  const { open } = await stage(t, clock);
  const [used, halfway] = [await open(), await open()];
  used.headers(1, get, ended);
  t.equal(await used.outcome(1), 'ok');
  halfway.write(frame(type.headers, 0, 1, fieldBlock(get)));
  await halfway.until(each => each.type === type.settings);
  await clock.advance(minuteMs + 2 * secondMs);
  await clock.advance(4 * secondMs);
  t.equal(await used.gone(), 0);
  t.equal(await halfway.gone(), 0);
});

t.test('a client that takes nothing of its answer holds little of it', async t => {
  const total = 64 * 1024 * 1024;
  let written = 0;
  const origin = await rawOrigin(t, socket => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`);
    const more = () => {
      while (written < total) {
        written += 65_536;
        if (!socket.write(Buffer.alloc(65_536))) return;
      }
    };
    socket.on('drain', more);
    more();
  });
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  // SETTINGS_INITIAL_WINDOW_SIZE of 0
  const client = await RawHttp2.open(t, mesh, 'client', node, Buffer.from([0, 4, 0, 0, 0, 0]));
  client.headers(1, get, ended);
  await client.until(each => each.type === type.headers);
  let before = -1;
  for (let still = 0; still < 20; before = written) {
    await new Promise(resolve => setImmediate(resolve));
    still = written === before ? still + 1 : 0;
  }
  t.ok(written < total / 2, `${written} bytes were taken from the application`);
  client.write(frame(type.windowUpdate, 0, 1, number(2 ** 30)), frame(type.windowUpdate, 0, 0, number(2 ** 30)));
  t.equal(String(await client.outcome(1)).length, total);
});

/** Frames that mostly make sense, in an order that mostly does not. */
const anyFrame = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(get, slow, post).map(head => frame(type.headers, 4, 1, fieldBlock(head))) },
  fc.constantFrom(get, post).map(head => frame(type.headers, 5, 3, fieldBlock(head))),
  fc.constantFrom(1, 3, 5).map(stream => frame(type.reset, 0, stream, number(8))),
  fc
    .tuple(fc.constantFrom(0, 1), fc.constantFrom(1, 3))
    .map(([flags, stream]) => frame(type.data, flags, stream, Buffer.from('x'))),
  fc.constantFrom(0, 1, 3).map(stream => frame(type.windowUpdate, 0, stream, number(0))),
  fc.constant(frame(type.goaway, 0, 0, Buffer.alloc(8))),
  fc.constant(frame(type.headers, 0, 5, fieldBlock(get))),
  fc
    .tuple(fc.nat(12), fc.nat(255), fc.nat(5), fc.uint8Array({ maxLength: 12 }))
    .map(([kind, flags, stream, payload]) => frame(kind, flags, stream, Buffer.from(payload))),
);

t.test('nonsense in frames, and an end in the midst of it, harms nobody but who sends it', async t => {
  const clock = new FakeClock(Date.now());
  const { node, open } = await stage(t, clock);
  const good = await open();
  const nonsense = fc.sample(fc.array(anyFrame, { maxLength: 8 }), { numRuns: 120, seed: 7 });
  for (const [i, frames] of nonsense.entries()) {
    const client = await open();
    client.write(...frames);
    if (i % 2 === 0) await new Promise(resolve => setImmediate(resolve));
    client.socket.destroy();
  }
  good.headers(1, get, ended);
  t.equal(await good.outcome(1), 'ok');
  // node:http2 says nothing of some that it has given up: their requests, and then they, run into the timeouts
  for (let i = 0; i < 2; i++) await clock.advance(5 * minuteMs + 2 * secondMs);
  await clock.advance(minuteMs + 2 * secondMs);
  await clock.advance(4 * secondMs);
  while (node.proxy.snapshot().inboundConnections > 0) await new Promise(resolve => setImmediate(resolve));
  t.pass('no connection is left of it');
});

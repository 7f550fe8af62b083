import { once } from 'node:events';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { secondMs } from '../../../../src/base/clock.ts';
import { frameHeader, frameKind, maxStreams, maxWindowBytes } from '../../../../src/proxy/wire/mux/frame.ts';
import { Loans } from '../../../../src/proxy/wire/mux/loans.ts';
import type { MuxStream } from '../../../../src/proxy/wire/mux/stream.ts';
import { muxPair, muxServer, Reading, settle } from '../../../fixtures/mux-pair.ts';

const { open, data, end, window, reset, ping, pong, goaway } = frameKind;
const kib = 1024;
const mib = 1024 * kib;

function bytesOf(length: number, seed = 1): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 31 + seed * 7 + (i >> 8)) & 255));
}

function dataFrame(stream: number, payload: string): string {
  return frameHeader(data, stream, payload.length) + payload;
}

/** Sends frames to a server's side, and reads what it answers. */
async function rawClient(t: Test) {
  const parts = await muxServer(t);
  let received = '';
  parts.clientSocket.setEncoding('latin1');
  parts.clientSocket.on('data', text => {
    received += text;
  });
  const send = (...frames: string[]) => parts.clientSocket.write(frames.join(''), 'latin1');
  return { ...parts, send, received: () => received };
}

t.test('bytes go both ways, and each way ends by itself', async t => {
  const { open } = await muxPair(t);
  const [ours, theirs] = await open();
  const [atOurs, atTheirs] = [new Reading(ours), new Reading(theirs)];
  ours.write('hello ', 'latin1');
  ours.write(Buffer.from('there'));
  ours.end();
  await atTheirs.until(({ ended }) => ended);
  t.equal(atTheirs.whole.toString(), 'hello there');
  theirs.write('and back', 'latin1');
  theirs.end();
  await atOurs.until(({ closed }) => closed !== undefined);
  await atTheirs.until(({ closed }) => closed !== undefined);
  t.equal(atOurs.whole.toString(), 'and back');
  t.same([atOurs.closed, atTheirs.closed], ['clean', 'clean']);
});

t.test('what many streams say in one turn leaves in one write', async t => {
  const { client, clientSocket, accepted, readings } = await muxPair(t);
  const streams = Array.from({ length: 50 }, () => client.open());
  let writes = 0;
  const write = clientSocket.write.bind(clientSocket);
  clientSocket.write = (...args: unknown[]) => {
    writes++;
    return Reflect.apply(write, clientSocket, args);
  };
  for (const stream of streams) stream.write('request', 'latin1');
  await accepted(49);
  await readings[49]?.until(({ length }) => length === 7);
  t.equal(writes, 1);
});

t.test('the memory of what is on its way is not given back when its stream is taken back', async t => {
  const { client, accepted, readings } = await muxPair(t);
  const bytes = Buffer.alloc(96 * kib, 'a');
  const stream = client.open();
  // what WriteBuffers does: the next response is copied to the same place
  stream.write(bytes, () => bytes.fill('z'));
  stream.destroy();
  await accepted(0);
  const [reading] = readings;
  await reading?.until(({ closed }) => closed !== undefined);
  t.ok(reading?.whole.includes('a'));
  t.notOk(reading?.whole.includes('z'));
});

t.test('for a slow reader no more than its window is held, and the other streams go on', async t => {
  const { open, clientSocket } = await muxPair(t);
  const [slow, slowTheirs] = await open();
  const [quick, quickTheirs] = await open();
  const reading = new Reading(slowTheirs);
  slowTheirs.pause();
  const body = bytesOf(3 * mib);
  t.equal(slow.write(body), false);
  t.ok(slow.writableNeedDrain);
  while (clientSocket.bytesWritten < 64 * kib) await settle();
  await settle();
  t.ok(clientSocket.bytesWritten < 64 * kib + 100, 'the window, and frame headers');
  t.equal(reading.length, 0);
  const atQuick = new Reading(quickTheirs);
  for (let i = 0; i < 64; i++) {
    quick.write(bytesOf(16 * kib));
    await atQuick.until(({ length }) => length === (i + 1) * 16 * kib);
  }
  const drained = once(slow, 'drain');
  slowTheirs.resume();
  await drained;
  slow.end();
  await reading.until(({ ended }) => ended);
  t.ok(reading.whole.equals(body));
});

t.test('on a full connection the streams take turns, so that little waits behind much', async t => {
  const { open } = await muxPair(t);
  const bulk: (readonly [MuxStream, MuxStream])[] = [];
  while (bulk.length < 8) bulk.push(await open());
  const readings = bulk.map(([, theirs]) => new Reading(theirs));
  const [small, smallTheirs] = await open();
  const before = new Promise(resolve => {
    smallTheirs.on('data', () => resolve(readings.map(({ length }) => length / kib)));
  });
  const flows = bulk.map(([ours]) => ours.write(bytesOf(64 * kib)));
  t.same(flows, [true, true, true, true, false, false, false, false]);
  t.equal(small.write('me too', 'latin1'), false);
  t.same(await before, [64, 64, 64, 64, 16, 16, 16, 16]);
  for (const each of readings) await each.until(({ length }) => length === 64 * kib);
});

t.test('whoever keeps up is given a larger window, up to its bound and to that of the connection', async t => {
  const { open, clientSocket } = await muxPair(t);
  const body = Buffer.alloc(4 * mib);
  const streams: (readonly [MuxStream, MuxStream])[] = [];
  for (let i = 0; i < 8; i++) {
    const pair = await open();
    const reading = new Reading(pair[1]);
    pair[0].write(body);
    await reading.until(({ length }) => length === body.length);
    streams.push(pair);
  }
  const before = clientSocket.bytesWritten;
  for (const [ours, theirs] of streams) {
    theirs.pause();
    ours.write(body);
  }
  const windows = 8 * 64 * kib + 4 * mib;
  const sent = () => clientSocket.bytesWritten - before;
  // what was read last, up to half a window, need not have been granted again
  while (sent() < windows / 2) await settle();
  await settle();
  t.ok(sent() < windows + 4 * kib, 'frame headers beside them');
});

t.test(
  'what connections are lent together is bounded; beyond that streams keep their window, until others close',
  async t => {
    const loans = new Loans(mib);
    const [one, other] = [await muxPair(t, loans), await muxPair(t, loans)];
    const body = Buffer.alloc(4 * mib);
    /** How much is on its way once the reader stops. */
    const ahead = async ({ clientSocket }: typeof one, [ours, theirs]: readonly [MuxStream, MuxStream]) => {
      const reading = new Reading(theirs);
      ours.write(body);
      await reading.until(({ length }) => length === body.length);
      theirs.pause();
      const before = clientSocket.bytesWritten;
      ours.write(body);
      await settle();
      return clientSocket.bytesWritten - before;
    };
    const first = await one.open();
    const second = await one.open();
    t.ok((await ahead(one, first)) > 256 * kib);
    t.ok((await ahead(one, second)) > 0);
    t.ok((await ahead(other, await other.open())) < 65 * kib, 'all is lent');
    const gone = [first, second].map(([, theirs]) => once(theirs, 'close'));
    for (const [ours] of [first, second]) ours.destroy();
    await Promise.all(gone);
    t.ok((await ahead(other, await other.open())) > 256 * kib, 'what is free again is lent again');
  },
);

t.test('a reader that does not keep up gets no larger window', async t => {
  const { open, clientSocket } = await muxPair(t);
  const [ours, theirs] = await open();
  const reading = new Reading(theirs);
  ours.write(Buffer.alloc(mib));
  for (let read = 64 * kib; read <= mib; read += 64 * kib) {
    theirs.pause();
    while (clientSocket.bytesWritten < read) await settle();
    await settle();
    t.ok(clientSocket.bytesWritten < read + kib, 'a window ahead');
    theirs.resume();
    await reading.until(({ length }) => length === read);
  }
});

t.test('a Buffer is given back once it has left; one that was cut off in the middle never is', async t => {
  const { open } = await muxPair(t);
  const [ours, theirs] = await open();
  const reading = new Reading(theirs);
  const given: string[] = [];
  ours.write(Buffer.alloc(10), () => given.push('small'));
  ours.write(Buffer.alloc(100 * kib), () => given.push('in pieces'));
  await reading.until(({ length }) => length === 100 * kib + 10);
  t.same(given, ['small', 'in pieces']);
  theirs.pause();
  ours.write(Buffer.alloc(mib), () => given.push('in vain'));
  await settle();
  t.equal(given.length, 2);
  ours.destroy();
  await settle();
  t.equal(given.length, 2);
  ours.write(Buffer.alloc(10), () => given.push('too late'));
  t.equal(given.at(-1), 'too late');
});

t.test('a stream that is resumed hears of nothing during the call, then of all in order', async t => {
  const { open } = await muxPair(t);
  const [ours, theirs] = await open();
  const reading = new Reading(theirs);
  theirs.pause();
  for (const text of ['one ', 'two ', 'three']) ours.write(text, 'latin1');
  ours.end();
  await settle();
  theirs.resume();
  t.equal(reading.length, 0);
  theirs.pause();
  await settle();
  t.equal(reading.length, 0);
  theirs.resume();
  await reading.until(({ ended }) => ended);
  t.equal(reading.whole.toString(), 'one two three');
});

t.test('a stream that one side destroys is closed on the other, whatever waits in it', async t => {
  const { open, broken } = await muxPair(t);
  for (const byClient of [true, false]) {
    const [ours, theirs] = await open();
    const [one, other] = byClient ? [ours, theirs] : [theirs, ours];
    const [atOne, atOther] = [new Reading(one), new Reading(other)];
    other.pause();
    one.write(bytesOf(mib));
    other.write(bytesOf(mib));
    await atOne.until(({ length }) => length > 0);
    one.destroy();
    one.write('nobody hears this', 'latin1');
    await atOther.until(({ closed }) => closed !== undefined);
    await atOne.until(({ closed }) => closed !== undefined);
    t.same([atOne.closed, atOther.closed], ['clean', 'broken']);
  }
  const [ours, theirs] = await open();
  const reading = new Reading(theirs);
  ours.write('the connection goes on', 'latin1');
  await reading.until(({ length }) => length === 22);
  t.same(broken, []);
});

t.test('whatever is against the rules closes the connection, and with it every stream', async t => {
  const window64 = 'x'.repeat(64 * kib);
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['an unknown kind', frameHeader(77, 1, 0), /no frame/],
    ['HTTP', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', /no frame/],
    ['a stream that was never opened', dataFrame(2, 'x'), /never opened/],
    ['an end of one', frameHeader(end, 9, 0), /never opened/],
    ['a number left out', frameHeader(open, 3, 0), /out of turn/],
    ['a number used again', frameHeader(open, 1, 0), /out of turn/],
    ['more than the window', dataFrame(1, window64) + dataFrame(1, 'x'), /beyond the window/],
    ['a second end', frameHeader(end, 1, 0) + frameHeader(end, 1, 0), /second end/],
    ['data behind the end', frameHeader(end, 1, 0) + dataFrame(1, 'x'), /beyond the window/],
    ['too large a window', frameHeader(window, 1, maxWindowBytes), /beyond 1 MiB/],
  ];
  for (const [name, frames, reason] of cases) {
    const { send, accepted, broken, clientSocket } = await rawClient(t);
    send(frameHeader(open, 1, 0));
    const reading = new Reading(await accepted(0));
    (await accepted(0)).pause();
    send(frames);
    await once(clientSocket, 'close');
    t.match(broken[0], reason, name);
    await reading.until(({ closed }) => closed === 'broken');
  }
});

t.test('a client takes no streams from a server', async t => {
  const { client, clientSocket, socket, broken } = await muxPair(t);
  t.ok(client.hasRoom);
  socket.write(frameHeader(open, 1, 0), 'latin1');
  await once(clientSocket, 'close');
  t.match(broken[0], /out of turn/);
  t.notOk(client.hasRoom);
});

t.test('streams beyond the bound, or that nobody wants, are refused, and nothing else happens', async t => {
  const { send, accepted, received, state, streams, broken } = await rawClient(t);
  for (let id = 1; id <= maxStreams + 1; id++) send(frameHeader(open, id, 0), dataFrame(id, 'x'));
  await accepted(maxStreams - 1);
  while (received() === '') await settle();
  t.equal(received(), frameHeader(reset, maxStreams + 1, 1));
  state.accepts = false;
  send(frameHeader(reset, 1, 0), frameHeader(open, maxStreams + 2, 0), dataFrame(maxStreams + 2, 'x'));
  while (received().length < 16) await settle();
  t.equal(received().slice(8), frameHeader(reset, maxStreams + 2, 1));
  t.equal(streams.length, maxStreams);
  t.same(broken, []);
});

t.test('a client opens no more streams than may be, and hears when one was refused', async t => {
  const { client, open, state } = await muxPair(t);
  const pairs: MuxStream[] = [];
  while (client.hasRoom) pairs.push((await open())[0]);
  t.equal(pairs.length, maxStreams);
  pairs[0]?.destroy();
  t.ok(client.hasRoom);
  state.accepts = false;
  const refused = client.open();
  const reading = new Reading(refused);
  await reading.until(({ closed }) => closed === 'broken');
  t.ok(refused.refused);
});

t.test('whoever opens and takes back streams without end is cut off', async t => {
  const { send, broken, clientSocket } = await rawClient(t);
  for (let id = 1; id <= 1001; id++) send(frameHeader(open, id, 0), frameHeader(reset, id, 0));
  await once(clientSocket, 'close');
  t.match(broken[0], /taken back/);
});

t.test('whoever sends much and takes nothing is cut off', async t => {
  const { clientSocket, socket, broken } = await muxServer(t);
  clientSocket.pause();
  const pings = Buffer.from(frameHeader(ping, 0, 0).repeat(8192), 'latin1');
  while (!socket.destroyed) if (!clientSocket.write(pings)) await settle();
  t.match(broken[0], /takes nothing/);
});

t.test('a silent connection is asked whether it is there: it stays with an answer, and goes without', async t => {
  const { clock, send, received, socket } = await rawClient(t);
  send(frameHeader(open, 1, 0));
  await settle();
  await clock.advance(21 * secondMs);
  while (received() === '') await settle();
  t.equal(received(), frameHeader(ping, 0, 0));
  send(frameHeader(pong, 0, 0));
  await settle();
  await clock.advance(15 * secondMs);
  t.notOk(socket.destroyed);
  await clock.advance(20 * secondMs);
  t.ok(socket.destroyed);
});

t.test(
  'who waits for an answer asks sooner, begins nothing more there in doubt, and takes it when it comes',
  async t => {
    const { clock, open, client, clientSocket, socket } = await muxPair(t);
    const [ours, theirs] = await open();
    const atOurs = new Reading(ours);
    let retired = false;
    ours.on('retire', () => {
      retired = true;
    });
    ours.write('request', 'latin1');
    await settle();
    clientSocket.pause();
    await clock.advance(6 * secondMs);
    t.ok(client.hasRoom, 'it is only asked');
    await clock.advance(4 * secondMs);
    await settle();
    t.same([client.hasRoom, retired], [false, true]);
    theirs.write('answer', 'latin1');
    clientSocket.resume();
    await atOurs.until(({ length }) => length === 6);
    await clock.advance(15 * secondMs);
    t.notOk(socket.destroyed, 'the call goes on');
    const closed = once(socket, 'close');
    ours.destroy();
    await closed;
  },
);

t.test('a node that has gone without a word is let go 15 s after it was sent something', async t => {
  const { clock, open, clientSocket } = await muxPair(t);
  const [ours] = await open();
  const atOurs = new Reading(ours);
  ours.write('request', 'latin1');
  await settle();
  clientSocket.pause();
  await clock.advance(14 * secondMs);
  t.equal(atOurs.closed, undefined);
  await clock.advance(4 * secondMs);
  await atOurs.until(({ closed }) => closed === 'broken');
  t.notOk(ours.refused, 'it may have been taken');
});

t.test('of much that comes a server says each 2 s that it does', async t => {
  const { clock, send, received } = await rawClient(t);
  send(frameHeader(open, 1, 0));
  const word = frameHeader(pong, 0, 0);
  const words = async (bytes: number) => {
    const before = received().length;
    // the answer to the last of it comes behind what is said of it
    send(dataFrame(1, 'x'.repeat(bytes)), frameHeader(ping, 0, 0));
    while (!received().slice(before).endsWith(word)) await settle();
    return received().slice(before).split(word).length - 2;
  };
  t.equal(await words(4 * kib), 0);
  t.equal(await words(8 * kib), 1);
  t.equal(await words(16 * kib), 0);
  await clock.advance(3 * secondMs);
  t.equal(await words(1), 1);
  await clock.advance(3 * secondMs);
  t.equal(await words(1), 0);
});

t.test('an answer that is here and unread counts', async t => {
  const { clock, open, client, clientSocket, socket } = await muxPair(t);
  const [ours] = await open();
  ours.write('request', 'latin1');
  await settle();
  clientSocket.pause();
  await clock.advance(7 * secondMs);
  await settle();
  // it is read in the turn of the verdict, behind it
  clientSocket.resume();
  await clock.advance(secondMs);
  await settle();
  t.ok(client.hasRoom);
  t.notOk(socket.destroyed);
});

t.test('two sides that both wait keep their connection; without streams they part', async t => {
  const { clock, open, socket, client } = await muxPair(t);
  const [stream] = await open();
  for (let i = 0; i < 20; i++) {
    await clock.advance(10 * secondMs);
    await settle();
  }
  t.ok(client.hasRoom);
  const closed = once(socket, 'close');
  stream.destroy();
  await settle();
  await clock.advance(30 * secondMs);
  await closed;
  t.notOk(client.hasRoom);
});

t.test('a drain ends nothing that is under way: the caller closes what it has, then the connection goes', async t => {
  const { open, client, server, socket, clientSocket } = await muxPair(t);
  const [ours, theirs] = await open();
  const [atOurs, atTheirs] = [new Reading(ours), new Reading(theirs)];
  let retired = false;
  ours.on('retire', () => {
    retired = true;
  });
  server.drain();
  ours.write('crossing', 'latin1');
  await atTheirs.until(({ length }) => length === 8);
  while (!retired) await settle();
  t.notOk(client.hasRoom);
  theirs.write('answered', 'latin1');
  await atOurs.until(({ length }) => length === 8);
  t.notOk(socket.destroyed);
  const closed = Promise.all([once(socket, 'close'), once(clientSocket, 'close')]);
  ours.destroy();
  await closed;
});

t.test('a client that wants no more goes as soon as its last stream is over', async t => {
  const { open, client, socket } = await muxPair(t);
  const [ours, theirs] = await open();
  const reading = new Reading(ours);
  client.drain();
  ours.end();
  await settle();
  theirs.write('still here', 'latin1');
  const closed = once(socket, 'close');
  theirs.end();
  await reading.until(({ closed }) => closed === 'clean');
  t.equal(reading.whole.toString(), 'still here');
  await closed;
});

t.test('a drain that a client does not answer is over in time', async t => {
  const { clock, server, socket, send } = await rawClient(t);
  send(frameHeader(goaway, 0, 0).slice(0, 3));
  server.drain();
  await settle();
  t.notOk(socket.destroyed);
  await clock.advance(35 * secondMs);
  t.ok(socket.destroyed);
});

t.test(
  'of a connection that ends without a word, what had not left counts as refused, and nothing new is opened',
  async t => {
    const { client, open, socket, clientSocket } = await muxPair(t);
    const [[sent], [used, usedThere], [answered, answeredThere]] = [await open(), await open(), await open()];
    for (const stream of [sent, used, answered]) stream.write('first', 'latin1');
    await settle();
    for (const stream of [usedThere, answeredThere]) stream.write('answer', 'latin1');
    await settle();
    answered.write('second', 'latin1');
    await settle();
    let late: MuxStream | undefined;
    clientSocket.prependOnceListener('end', () => {
      late = client.open();
      late.write('first', 'latin1');
      used.write('second', 'latin1');
    });
    socket.end();
    await once(clientSocket, 'end');
    t.notOk(client.hasRoom);
    await once(clientSocket, 'close');
    t.same(
      [sent, used, answered, late].map(stream => stream?.refused),
      [false, true, false, true],
    );
  },
);

t.test('a stream ends once, however often its reader pauses', async t => {
  const { open } = await muxPair(t);
  const [ours, theirs] = await open();
  let ends = 0;
  theirs.on('data', () => {});
  theirs.on('end', () => {
    ends++;
  });
  ours.write('all', 'latin1');
  ours.end();
  await settle();
  for (let i = 0; i < 3; i++) {
    theirs.pause();
    theirs.resume();
    await settle();
  }
  t.equal(ends, 1);
});

/** What one side does with a stream. */
const action = fc.record({
  stream: fc.nat({ max: 4 }),
  byClient: fc.boolean(),
  what: fc.constantFrom('text', 'bytes', 'pause', 'resume', 'settle'),
  length: fc.oneof(fc.nat({ max: 300 }), fc.nat({ max: 200_000 })),
});

t.test('whatever two sides do, each stream carries what was written, in order', async t => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 40 }), async actions => {
      const { open, clientSocket, broken } = await muxPair(t);
      const pairs = [];
      for (let i = 0; i < 5; i++) pairs.push(await open());
      const sides = pairs.flat().map(stream => ({ stream, reading: new Reading(stream), wrote: [] as Buffer[] }));
      for (const [i, { stream: at, byClient, what, length }] of actions.entries()) {
        const side = sides[at * 2 + (byClient ? 0 : 1)];
        if (side === undefined) throw new Error('no such side');
        const bytes = bytesOf(length, i);
        if (what === 'pause') side.stream.pause();
        else if (what === 'resume') side.stream.resume();
        else if (what === 'settle') await settle();
        else side.wrote.push(bytes);
        if (what === 'text') side.stream.write(bytes.toString('latin1'), 'latin1');
        else if (what === 'bytes') side.stream.write(bytes);
      }
      for (const { stream } of sides) {
        stream.resume();
        stream.end();
      }
      for (const [i, { reading }] of sides.entries()) {
        await reading.until(({ closed }) => closed === 'clean');
        if (!reading.whole.equals(Buffer.concat(sides[i ^ 1]?.wrote ?? []))) return false;
      }
      clientSocket.destroy();
      return broken.length === 0;
    }),
    { numRuns: 60 },
  );
});

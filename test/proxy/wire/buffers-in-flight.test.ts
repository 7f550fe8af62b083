import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import t, { type Test } from 'tap';
import { type Random, seededRandom } from '../../../src/base/random.ts';
import { type Sink, WriteBuffers } from '../../../src/proxy/wire/write-buffers.ts';
import { flag, frame, get, number, RawHttp2, type } from '../../fixtures/http2-frames.ts';
import { Mesh, serverNameOf, serviceOf, startNode } from '../../fixtures/proxy-node.ts';

// A buffer that is given back too early is filled with somebody else's bytes while its own are still to be sent. Here each is
// poisoned as it comes back, so that whoever would have got the bytes of another gets poison.

const poison = 0x15;
let returned = 0;
const { write } = WriteBuffers.prototype;
WriteBuffers.prototype.write = function (to: Sink, text: string, bytes: Buffer, from: number, end: number): boolean {
  const sink: Sink = {
    write(data, done) {
      if (done === undefined || typeof data === 'string') return to.write(data, done);
      return to.write(data, () => {
        data.fill(poison);
        returned++;
        done();
      });
    },
  };
  return write.call(this, sink, text, bytes, from, end);
};

const mesh = new Mesh();
const secret = Buffer.from('client-1:secret-of-client').toString('base64');
const proof = `Proxy-Authorization: Basic ${secret}\r\n`;
/** SETTINGS_INITIAL_WINDOW_SIZE: of many buffers a part leaves, and the rest waits. */
const oddWindow = Buffer.from([0, 4, 0, 1, 0x11, 0x11]);
/** More than the system holds for a connection whose other side does not read. */
const largest = 8 * 1024 * 1024;

/** Answers `/<letter>/<bytes>/<c or l>` with as many of the letter, in chunks or with a length; at once, whatever else comes. */
function answer(socket: Socket, text: string): void {
  const [, letter = '', size = '', framing = ''] = /^\S+ \/([A-Z])\/(\d+)\/(\w)/.exec(text) ?? [];
  const chunked = framing === 'c';
  socket.write(`HTTP/1.1 200 OK\r\n${chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${size}`}\r\n\r\n`);
  let left = Number(size);
  const more = () => {
    while (left > 0 && !socket.destroyed) {
      const piece = Math.min(left, 100_000);
      left -= piece;
      const data = letter.repeat(piece);
      if (!socket.write(chunked ? `${piece.toString(16)}\r\n${data}\r\n` : data, 'latin1')) return;
    }
    socket.off('drain', more);
    if (chunked && left === 0) socket.write('0\r\n\r\n');
  };
  socket.on('drain', more);
  more();
}

async function application(t: Test): Promise<number> {
  const open = new Set<Socket>();
  const server = createServer(socket => {
    open.add(socket);
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      if (text.includes(' HTTP/1.1\r\n')) answer(socket, text);
    });
    socket.on('error', () => {});
    socket.on('close', () => open.delete(socket));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

interface Dice {
  readonly random: Random;
  upTo(most: number): number;
  letter(): string;
  path(letter: string): string;
}

function dice(seed: number): Dice {
  const random = seededRandom(seed);
  const upTo = (most: number) => Math.floor(random() * most);
  return {
    random,
    upTo,
    letter: () => String.fromCharCode(65 + upTo(26)),
    path: letter => `/${letter}/${upTo(random() < 0.2 ? largest : 400_000)}/${random() < 0.5 ? 'c' : 'l'}`,
  };
}

/** Reads by fits and starts, and for some time not at all; ends by chance. Resolves when all has come, or the connection is gone. */
async function readOddly({ random, upTo }: Dice, socket: Socket, isDone: () => boolean): Promise<void> {
  const patience = 20 + upTo(200);
  const isCutOff = random() < 0.3;
  // some take nothing at first, so that all is full on the way
  const isSlow = random() < 0.5;
  if (isSlow) socket.pause();
  for (let turns = 0; !isDone() && !socket.destroyed; turns++) {
    if (turns > patience && isCutOff) socket.destroy();
    else if (turns > patience) socket.resume();
    else if (!isSlow && random() < 0.5) socket[random() < 0.3 ? 'pause' : 'resume']();
    await new Promise(resolve => setImmediate(resolve));
  }
  socket.destroy();
}

/** Looks at the body of an answer as it comes, and forgets it: all of it is the letter, but for the sizes of chunks. */
class Answer {
  readonly #letter: number;
  #headEnd = 0;
  strange = '';

  constructor(letter: string) {
    this.#letter = letter.charCodeAt(0);
  }

  take(bytes: Buffer): void {
    let p = 0;
    for (; p < bytes.length && this.#headEnd < 4; p++) {
      if (bytes[p] === (this.#headEnd % 2 === 0 ? 13 : 10)) this.#headEnd++;
      else this.#headEnd = 0;
    }
    for (; p < bytes.length; p++) {
      const byte = bytes[p] ?? 0;
      if (byte !== this.#letter && !'0123456789abcdef\r\n'.includes(String.fromCharCode(byte))) this.strange += byte;
    }
  }
}

/** A call by HTTP/1.1, of which half bring a body that nobody waits for. */
async function callHttp1(t: Test, dice: Dice, socket: Socket, target: string, lines: string): Promise<void> {
  const letter = dice.letter();
  const answer = new Answer(letter);
  socket.on('error', () => {});
  socket.on('data', (bytes: Buffer) => answer.take(bytes));
  const isPost = dice.random() < 0.5;
  const body = isPost ? 'Content-Length: 1000000\r\n' : '';
  const start = `${isPost ? 'POST' : 'GET'} ${target}${dice.path(letter)} HTTP/1.1\r\nHost: web\r\n${lines}${body}`;
  socket.write(`${start}Connection: close\r\n\r\n`);
  if (isPost) for (let i = 0; i < 8; i++) socket.write(Buffer.alloc(50_000, 'y'));
  await readOddly(dice, socket, () => socket.readableEnded);
  if (answer.strange !== '') t.fail(`an answer of ${letter} has ${answer.strange.slice(0, 40)}`);
}

/** Calls at once over one connection of HTTP/2, each with its own fate. */
async function callHttp2(t: Test, dice: Dice, client: RawHttp2, lines: typeof get): Promise<void> {
  client.write(frame(type.windowUpdate, 0, 0, number(2 ** 30)));
  const letters = new Map<number, string>();
  for (let stream = 1; stream < 20; stream += 2) {
    const letter = dice.letter();
    letters.set(stream, letter);
    const isPost = dice.random() < 0.3;
    const withPath = get.map(([name, value]) => [name, name === ':path' ? dice.path(letter) : value] as const);
    const fields = [...withPath, ...lines];
    client.headers(stream, isPost ? [...fields.slice(1), [':method', 'POST']] : fields, isPost ? 0 : flag.endStream);
  }
  const open = new Set(letters.keys());
  let seen = 0;
  const isDone = () => {
    for (; seen < client.frames.length; seen++) {
      const {
        type: kind,
        flags,
        stream,
        payload,
      } = client.frames[seen] ?? { type: 0, flags: 0, stream: 0, payload: '' };
      if (kind === type.reset || (kind === type.data && flags % 2 === 1)) open.delete(stream);
      if (kind !== type.data) continue;
      const letter = letters.get(stream) ?? '';
      if (Buffer.from(payload).equals(Buffer.alloc(payload.length, letter))) continue;
      t.fail(`stream ${stream} of ${letter} has ${String(payload).slice(0, 20)}`);
    }
    if (client.closed) return true;
    for (const stream of open) client.write(frame(type.windowUpdate, 0, stream, number(1 + dice.upTo(200_000))));
    if (dice.random() < 0.05) {
      const stream = 1 + 2 * dice.upTo(10);
      client.write(frame(type.reset, 0, stream, number(8)));
      open.delete(stream);
    }
    return open.size === 0;
  };
  await readOddly(dice, client.socket, isDone);
}

type Stage = Awaited<ReturnType<typeof stage>>;

async function stage(t: Test) {
  const web = mesh.workload('web', { appPort: await application(t) });
  const server = await startNode(t, { workloads: [web] });
  const client = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [serviceOf('web', [server.running.meshPort])],
  });
  return { server, client };
}

for (const [way, call] of Object.entries({
  'TLS alone': async (t: Test, dice: Dice, { server }: Stage) => {
    const port = server.running.meshPort;
    const trust = { secureContext: mesh.context('client'), checkServerIdentity: () => undefined };
    const socket = connectTls({ host: '127.0.0.1', port, servername: serverNameOf('web'), ...trust });
    await callHttp1(t, dice, socket, '', '');
  },
  'a connection between agents': async (t: Test, dice: Dice, { client: node }: Stage) => {
    await callHttp1(t, dice, connect(node.running.outboundPort, '127.0.0.1'), 'http://web', proof);
  },
  'HTTP/2': async (t: Test, dice: Dice, { server }: Stage) =>
    callHttp2(t, dice, await RawHttp2.open(t, mesh, 'client', server, oddWindow), []),
  // where the system is handed the buffers themselves
  'HTTP/2 without TLS': async (t: Test, dice: Dice, { client: node }: Stage) => {
    const client = new RawHttp2(connect(node.running.outboundPort, '127.0.0.1'));
    client.write(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(type.settings, 0, 0, oddWindow));
    await callHttp2(t, dice, client, [['proxy-authorization', `Basic ${secret}`]]);
  },
})) {
  t.test(`nobody reads what was written into a buffer that came back, over ${way}`, async t => {
    const nodes = await stage(t);
    returned = 0;
    const calls = way.startsWith('HTTP/2') ? 3 : 16;
    for (let round = 0; round < 2; round++)
      await Promise.all(Array.from({ length: calls }, (_, i) => call(t, dice(100 * round + i), nodes)));
    t.ok(returned > calls, `${returned} buffers were used again`);
  });
}

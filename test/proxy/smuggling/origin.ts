import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { ResponseCase } from './case.ts';
import { type Message, readMessage, strict } from './reader.ts';

/** An application that reads strictly, remembers all that came, and answers each request with its number. */
export class Origin {
  /** Whole requests, in the order in which they were answered. */
  requests: Message[] = [];
  /** What came on each connection since the last `forget`. */
  streams: string[] = [];
  malformed = 0;
  /** Answers requests for `/case`. */
  script: ResponseCase | undefined;
  /** Where the script was played. */
  #stage: Socket | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server = createServer(socket => this.#serve(socket));

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Forgets what came, and ends what is open, so that each case begins anew. */
  async forget(): Promise<void> {
    await Promise.all(
      [...this.#sockets].map(socket => {
        const closed = closeOf(socket);
        socket.destroy();
        return closed;
      }),
    );
    this.requests = [];
    this.streams = [];
    this.malformed = 0;
    this.script = undefined;
  }

  /** Says something where the script was played, though nobody asks; resolves when the other side has closed for it. */
  async sayUnasked(text: string): Promise<void> {
    const socket = this.#stage;
    if (socket === undefined || socket.destroyed) return;
    const closed = closeOf(socket);
    socket.write(text, 'latin1');
    await closed;
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    const streams = this.streams;
    const index = streams.push('') - 1;
    let read = 0;
    socket.setNoDelay(true);
    socket.setEncoding('latin1');
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('data', (piece: string) => {
      const text = `${streams[index]}${piece}`;
      streams[index] = text;
      while (read < text.length) {
        const reading = readMessage(text, read, strict, 'request');
        if (reading === 'malformed') this.#refuse(socket);
        else if (reading === 'incomplete' && this.#answersEarly(socket, text, read)) read = text.length;
        if (typeof reading === 'string') return;
        read = reading.end;
        this.#answer(socket, reading);
      }
    });
  }

  #answer(socket: Socket, request: Message): void {
    const number = this.requests.push(request);
    const [method, target = ''] = request.start.split(' ');
    const { script } = this;
    if (script !== undefined && target.startsWith('/case')) {
      this.#play(socket, script);
      return;
    }
    const head = `HTTP/1.1 200 OK\r\nx-for: ${target}\r\nx-number: ${number}\r\ncontent-length: 2\r\n\r\n`;
    socket.write(method === 'HEAD' ? head : `${head}ok`, 'latin1');
  }

  #play(socket: Socket, { answer, closes }: ResponseCase): void {
    this.#stage = socket;
    if (answer !== '') socket.write(answer, 'latin1');
    if (closes === true) socket.end();
  }

  #answersEarly(socket: Socket, text: string, from: number): boolean {
    if (this.script?.early !== true || !text.includes('\r\n\r\n', from)) return false;
    this.#play(socket, this.script);
    return true;
  }

  #refuse(socket: Socket): void {
    this.malformed++;
    socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  }
}

/** Not by `once`, which takes a reset for a failure. */
function closeOf(socket: Socket): Promise<void> {
  return new Promise(resolve => socket.once('close', () => resolve()));
}

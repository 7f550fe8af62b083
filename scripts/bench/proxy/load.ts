/**
 * The clients of `bench:proxy`: HTTP/1.1 over raw sockets, plain or mutual TLS. Started with a LoadOptions as JSON for its one argument;
 * prints a LoadResult. A program of its own, so that it has a core of its own.
 */
import { readFileSync } from 'node:fs';
import { connect as connectTcp, type OnReadOpts, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, createSecureContext, TLSSocket } from 'node:tls';

export interface LoadOptions {
  readonly port: number;
  readonly connections: number;
  readonly seconds: number;
  /** PEM files; absent: plain TCP. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca: string; readonly servername?: string };
  /** As it goes on the wire, with its empty line. */
  readonly head: string;
  readonly bodyBytes: number;
  /** `loop`: one request behind the other; `connect`: a connection for each; `idle`: handshakes alone, held open until the end. */
  readonly mode: 'loop' | 'connect' | 'idle';
  /** With `loop`: so many requests a second, whether or not earlier ones have been answered; absent: as many as go. */
  readonly rate?: number | undefined;
  /** With `connect`: shows a ticket of an earlier connection, each once. */
  readonly resume?: boolean;
}

export interface LoadResult {
  readonly done: number;
  readonly errors: number;
  readonly seconds: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly handshakes: number;
  readonly resumed: number;
}

/** What tls.connect passes on to its socket, though its types do not say so. */
interface ReadInto {
  readonly onread: OnReadOpts;
}

/** One bucket a microsecond; the last one takes all above. */
const latencyBuckets = 2_000_000;
/** Handshakes at a time, so that no accept queue overflows. */
const dialsAtATime = 32;
const tickMs = 1;

/** All connections read into it, one after another. */
const buffer = Buffer.allocUnsafeSlow(256 * 1024);

class Load {
  readonly #options: LoadOptions;
  readonly #context;
  readonly #body: Buffer;
  readonly #latency = new Uint32Array(latencyBuckets);
  readonly #tickets: Buffer[] = [];
  readonly #free: Client[] = [];
  /** When requests were due for which no connection was free. */
  readonly #due: number[] = [];
  #dialling = 0;
  #toDial: number;
  #startedAt = 0;
  #planned = 0;
  #over = false;
  done = 0;
  errors = 0;
  handshakes = 0;
  resumed = 0;

  constructor(options: LoadOptions) {
    const { tls } = options;
    this.#options = options;
    this.#context =
      tls &&
      createSecureContext({ key: readFileSync(tls.key), cert: readFileSync(tls.cert), ca: readFileSync(tls.ca) });
    this.#body = Buffer.alloc(options.bodyBytes, 'y');
    this.#toDial = options.connections;
  }

  async run(): Promise<LoadResult> {
    const { seconds, rate } = this.#options;
    this.#startedAt = performance.now();
    this.#dialNext();
    const ticker = rate === undefined ? undefined : setInterval(() => this.#tick(rate), tickMs);
    await new Promise(resolve => setTimeout(resolve, seconds * 1000));
    clearInterval(ticker);
    this.#over = true;
    const elapsed = (performance.now() - this.#startedAt) / 1000;
    const { done, errors, handshakes, resumed } = this;
    const [p50Us, p99Us] = [this.#percentile(0.5), this.#percentile(0.99)];
    return { done, errors, seconds: elapsed, p50Us, p99Us, handshakes, resumed };
  }

  /** Opens a socket that hands what it reads to `onBytes`, which returns true. */
  open(onBytes: (length: number) => boolean): Socket {
    const { port, resume, tls } = this.#options;
    const onread = { buffer, callback: onBytes };
    if (this.#context === undefined) return connectTcp({ host: '127.0.0.1', port, noDelay: true, onread });
    const session = resume === true ? this.#tickets.pop() : undefined;
    const options: ConnectionOptions & ReadInto = {
      host: '127.0.0.1',
      port,
      secureContext: this.#context,
      minVersion: 'TLSv1.3',
      checkServerIdentity: () => undefined,
      onread,
      ...(session !== undefined && { session }),
      ...(tls?.servername !== undefined && { servername: tls.servername }),
    };
    const socket = connectTls(options);
    socket.setNoDelay(true);
    if (resume === true) socket.on('session', ticket => this.#tickets.push(ticket));
    return socket;
  }

  onOpen(client: Client, socket: Socket): void {
    if (socket instanceof TLSSocket) {
      this.handshakes++;
      if (socket.isSessionReused()) this.resumed++;
    }
    this.#dialling--;
    this.#dialNext();
    const { mode, rate } = this.#options;
    if (mode === 'connect') client.ask(client.openedAt);
    else if (mode === 'loop' && rate === undefined) client.ask(performance.now());
    else this.#free.push(client);
  }

  write(socket: Socket): void {
    socket.write(this.#options.head, 'latin1');
    if (this.#body.length > 0) socket.write(this.#body);
  }

  onAnswer(client: Client, status: string, since: number): void {
    const now = performance.now();
    const bucket = Math.min(latencyBuckets - 1, Math.max(0, Math.round((now - since) * 1000)));
    this.#latency[bucket] = (this.#latency[bucket] ?? 0) + 1;
    this.done++;
    if (status !== '200') this.errors++;
    const { mode, rate } = this.#options;
    if (this.#over) return;
    if (mode === 'connect') this.#replace(client);
    else if (rate === undefined) client.ask(now);
    else if (this.#due.length > 0) client.ask(this.#due.shift() ?? now);
    else this.#free.push(client);
  }

  onFailure(client: Client, wasOpen: boolean): void {
    if (this.#over) return;
    this.errors++;
    if (!wasOpen) this.#dialling--;
    const at = this.#free.indexOf(client);
    if (at >= 0) this.#free.splice(at, 1);
    this.#replace(client);
  }

  #replace(client: Client): void {
    client.close();
    this.#toDial++;
    this.#dialNext();
  }

  #dialNext(): void {
    while (this.#toDial > 0 && this.#dialling < dialsAtATime && !this.#over) {
      this.#toDial--;
      this.#dialling++;
      new Client(this);
    }
  }

  #tick(rate: number): void {
    const now = performance.now();
    const due = Math.floor(((now - this.#startedAt) / 1000) * rate);
    // those that were due before the connections were there are left out
    if (this.handshakes < this.#options.connections && this.#context !== undefined) this.#planned = due;
    for (; this.#planned < due; this.#planned++) {
      const client = this.#free.shift();
      if (client === undefined) this.#due.push(now);
      else client.ask(now);
    }
  }

  #percentile(share: number): number {
    let seen = 0;
    for (let us = 0; us < latencyBuckets; us++) {
      seen += this.#latency[us] ?? 0;
      if (seen > 0 && seen >= this.done * share) return us;
    }
    return 0;
  }
}

/** One connection and the answer that it waits for. */
class Client {
  readonly openedAt = performance.now();
  readonly #load: Load;
  readonly #socket: Socket;
  #open = false;
  #closed = false;
  #since = 0;
  #status = '';
  /** A head that came in pieces. */
  #head = '';
  #left = 0;

  constructor(load: Load) {
    this.#load = load;
    this.#socket = load.open(length => this.#onBytes(length));
    const isTls = this.#socket instanceof TLSSocket;
    this.#socket.on(isTls ? 'secureConnect' : 'connect', () => {
      this.#open = true;
      load.onOpen(this, this.#socket);
    });
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      if (!this.#closed) load.onFailure(this, this.#open);
    });
  }

  ask(since: number): void {
    this.#since = since;
    this.#load.write(this.#socket);
  }

  close(): void {
    this.#closed = true;
    this.#socket.destroy();
  }

  #onBytes(length: number): boolean {
    if (this.#left > 0) this.#left -= length;
    else {
      this.#head += buffer.toString('latin1', 0, Math.min(length, 4096));
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return true;
      const before = this.#head.length - Math.min(length, 4096);
      this.#status = this.#head.slice(9, 12);
      this.#left = Number(/\ncontent-length: *(\d+)/i.exec(this.#head)?.[1]) - (length - (end + 4 - before));
      this.#head = '';
    }
    if (this.#left <= 0) this.#load.onAnswer(this, this.#status, this.#since);
    return true;
  }
}

const options: LoadOptions = JSON.parse(process.argv[2] ?? '');
console.log(JSON.stringify(await new Load(options).run()));
process.exit(0);

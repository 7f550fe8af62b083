import type { Buffer } from 'node:buffer';
import { createServer, type IncomingMessage, request as makeRequest, type Server } from 'node:http';
import { Duplex } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import type { Read, Reading } from './message.ts';

const maxHeaderSize = 256 * 1024;

/** A connection without a network: what is fed to it is read at once, what is written to it is forgotten. */
class Feed extends Duplex {
  readonly messages: Read[] = [];
  refusal: string | undefined;

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }

  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

/** Node's own parser, llhttp in its strict mode, as `node:http` uses it. */
export class Llhttp {
  readonly #server: Server;

  constructor() {
    // Node's own additions are not the parser's: which hosts and expectations there may be
    this.#server = createServer({ requireHostHeader: false, insecureHTTPParser: false, maxHeaderSize });
    this.#server.maxHeadersCount = 0;
    for (const event of ['request', 'checkContinue', 'checkExpectation', 'connect']) {
      this.#server.on(event, (incoming: IncomingMessage) => note(incoming, `${incoming.method} ${incoming.url}`));
    }
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
      if (socket instanceof Feed) socket.refusal ??= error.code ?? error.message;
    });
  }

  /** Reads each of `inputs` as the requests of one connection. */
  async readRequests(inputs: readonly Buffer[]): Promise<readonly Reading[]> {
    const feeds = inputs.map(input => {
      const feed = new Feed();
      this.#server.emit('connection', feed);
      feed.emit('data', input);
      return feed;
    });
    return settle(feeds);
  }

  /** Reads each of `inputs` as the response to a request of a connection of its own. */
  async readResponses(inputs: readonly (readonly [bytes: Buffer, toHead: boolean])[]): Promise<readonly Reading[]> {
    const feeds = inputs.map(([, toHead]) => {
      const feed = new Feed();
      const method = toHead ? 'HEAD' : 'GET';
      const outgoing = makeRequest({ method, maxHeaderSize, createConnection: () => feed });
      outgoing.maxHeadersCount = 0;
      outgoing.on('response', incoming => note(incoming, String(incoming.statusCode), feed));
      outgoing.on('error', (error: NodeJS.ErrnoException) => {
        feed.refusal ??= error.code ?? error.message;
      });
      outgoing.end();
      return feed;
    });
    await setImmediate();
    for (const [at, feed] of feeds.entries()) feed.emit('data', inputs[at]?.[0]);
    return settle(feeds);
  }
}

function note(incoming: IncomingMessage, start: string, feed: Duplex = incoming.socket): void {
  if (!(feed instanceof Feed)) return;
  const message: Read = {
    start,
    minor: incoming.httpVersionMajor === 1 ? incoming.httpVersionMinor : -1,
    fields: incoming.rawHeaders,
    bodyBytes: 0,
    isWhole: false,
  };
  feed.messages.push(message);
  incoming.on('error', () => {});
  incoming.on('data', (piece: Buffer) => {
    message.bodyBytes += piece.length;
  });
  incoming.on('end', () => {
    message.isWhole = true;
  });
}

/** Lets the bodies come, and ends the connections. */
async function settle(feeds: readonly Feed[]): Promise<readonly Reading[]> {
  await setImmediate();
  return feeds.map(feed => {
    const { refusal } = feed;
    const messages = feed.messages.map(message => ({ ...message }));
    feed.destroy();
    return { messages, refusal };
  });
}

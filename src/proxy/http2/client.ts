import { type ClientHttp2Session, type ClientHttp2Stream, connect, type Settings } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import type { ClientStream } from './client-stream.ts';
import { bounds, maxStreams, settings } from './limits.ts';

/** Connections of HTTP/2 with prior knowledge (RFC 9113 section 3.3) to one application: as few as its requests need. */
export class ClientSessions {
  readonly #host: string;
  readonly #port: number;
  readonly #sessions = new Set<ClientSession>();

  constructor(host: string, port: number) {
    this.#host = host;
    this.#port = port;
  }

  /** Finds a session for `stream`, or opens one; the stream hears of it, or is destroyed. */
  attach(stream: ClientStream): void {
    for (const session of this.#sessions) if (session.take(stream)) return;
    const session = new ClientSession(this.#host, this.#port, {
      onClosed: () => this.#sessions.delete(session),
      onSurplus: surplus => this.attach(surplus),
    });
    this.#sessions.add(session);
    session.take(stream);
  }
}

interface ClientSessionEvents {
  onClosed(): void;
  /** The application takes fewer requests at once than was assumed. */
  onSurplus(stream: ClientStream): void;
}

/** One connection to the application; it ends with the last of its streams. */
class ClientSession {
  readonly #socket: Socket;
  readonly #session: ClientHttp2Session;
  readonly #events: ClientSessionEvents;
  readonly #streams = new Set<ClientStream>();
  #ready = false;
  #closing = false;
  #limit = maxStreams;

  constructor(host: string, port: number, events: ClientSessionEvents) {
    this.#events = events;
    const socket = connectTcp({ host, port, noDelay: true });
    this.#socket = socket;
    this.#session = connect(`http://${host}:${port}`, {
      createConnection: () => socket,
      settings,
      peerMaxConcurrentStreams: maxStreams,
      maxReservedRemoteStreams: 0,
      ...bounds,
    });
    this.#session.on('remoteSettings', remote => this.#onSettings(remote));
    this.#session.on('goaway', () => this.#stop());
    // what an application pushes nobody has asked for
    this.#session.on('stream', (pushed: ClientHttp2Stream) => pushed.destroy());
    this.#session.on('error', () => this.#socket.destroy());
    this.#session.on('close', () => this.#onClosed());
  }

  /** Gives the stream a place; false when there is none, or when it wants a connection that nobody has used. */
  take(stream: ClientStream): boolean {
    if (this.#closing || this.#streams.size >= this.#limit || (this.#ready && stream.fresh)) return false;
    this.#streams.add(stream);
    stream.on('close', () => this.#leave(stream));
    if (this.#ready) setImmediate(() => this.#bind(stream, true));
    return true;
  }

  #bind(stream: ClientStream, joins: boolean): void {
    if (!stream.closed && this.#streams.has(stream)) stream.bind(this.#session, joins);
  }

  /** The application speaks HTTP/2, and has said how many requests it takes at once. */
  #onSettings({ maxConcurrentStreams }: Settings): void {
    this.#limit = Math.min(maxConcurrentStreams ?? maxStreams, maxStreams);
    if (this.#ready) return;
    this.#ready = true;
    let place = 0;
    for (const stream of [...this.#streams]) {
      if (place++ < Math.max(1, this.#limit)) this.#bind(stream, false);
      else {
        this.#streams.delete(stream);
        this.#events.onSurplus(stream);
      }
    }
  }

  #leave(stream: ClientStream): void {
    if (!this.#streams.delete(stream) || this.#streams.size > 0) return;
    this.#stop();
    this.#socket.destroy();
  }

  #stop(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#events.onClosed();
    for (const stream of [...this.#streams]) stream.retire();
    if (!this.#session.closed) this.#session.close();
  }

  #onClosed(): void {
    this.#stop();
    for (const stream of [...this.#streams]) stream.destroy();
  }
}

import type { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import type { Listener } from '../listener.ts';
import type { Connector } from '../upstream/connection.ts';
import type { DownstreamParts } from '../wire/downstream-parts.ts';
import type { Pipeline } from '../wire/exchange.ts';
import { Head } from '../wire/head.ts';
import type { ClientSessions } from './client.ts';
import { ClientStream } from './client-stream.ts';
import type { TargetForm } from './request-text.ts';
import type { Http2Acceptor } from './server.ts';

/**
 * HTTP/2 at the edges of the proxy: of connections that clients open, and to applications. `node:http2` is loaded with the
 * first connection that needs it, since it takes memory and most nodes never do.
 */
export class Http2Edges {
  readonly #parts: DownstreamParts;
  #acceptor: Http2Acceptor | undefined;

  constructor(parts: DownstreamParts) {
    this.#parts = parts;
  }

  /** Takes over a client's connection; `early` is what was read of it. */
  accept(listener: Listener, socket: Socket, form: TargetForm, pipelineOf: () => Pipeline, early?: Buffer): void {
    // errors are followed by 'close'
    socket.on('error', () => {});
    const begin = (acceptor: Http2Acceptor) => {
      const source = socket.remoteAddress ?? '';
      const takeStream = () => listener.takeStream(source);
      const connection = acceptor.accept(socket, { form, pipelineOf, takeStream, onGone: listener.onGone }, early);
      if (connection !== undefined) listener.hold(connection);
    };
    if (this.#acceptor !== undefined) begin(this.#acceptor);
    else {
      import('./server.ts').then(
        ({ Http2Acceptor: Acceptor }) => {
          this.#acceptor ??= new Acceptor(this.#parts);
          if (!socket.destroyed) begin(this.#acceptor);
        },
        () => socket.destroy(),
      );
    }
  }

  /** Opens connections to an application that speaks HTTP/2 with prior knowledge. */
  connector(host: string, port: number): Connector {
    const head = new Head();
    let sessions: ClientSessions | undefined;
    return {
      connect(events, fresh) {
        const stream = new ClientStream(head, events, fresh);
        if (sessions !== undefined) sessions.attach(stream);
        else {
          import('./client.ts').then(
            ({ ClientSessions: Sessions }) => {
              sessions ??= new Sessions(host, port);
              sessions.attach(stream);
            },
            () => stream.destroy(),
          );
        }
        return stream;
      },
      // the way to an application has no certificate, and each session ends with the last of its streams
      recheck() {},
      close() {},
    };
  }
}

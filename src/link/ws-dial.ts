import { isIPv6 } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { WebSocket } from 'ws';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { onAbort } from '../base/signal.ts';
import { messageBounds } from '../model/message.ts';
import { joinPieces, mqttPath, mqttSubprotocol } from '../model/websocket.ts';
import { type Dial, openTls, type TlsDialParts, type TlsDialSettings } from './dial.ts';

/** One WebSocket message of the broker: no packet is larger. */
const maxMessageBytes = messageBounds.down.maxBytes + 64 * 1024;

/** Dials MQTT over WebSocket (`wss://host:port/mqtt`); who the server is has been judged before the first byte of HTTP. */
export function wsDial(parts: TlsDialParts, settings: TlsDialSettings): Dial {
  const { host, port } = settings;
  const url = `wss://${isIPv6(host) ? `[${host}]` : host}:${port}${mqttPath}`;
  return async signal => {
    // most agents never need it: it is loaded when they do
    const [{ WebSocket, createWebSocketStream }, socket] = await Promise.all([
      import('ws'),
      openTls(parts, settings, signal),
    ]);
    const webSocket = new WebSocket(url, mqttSubprotocol, {
      createConnection: () => socket,
      perMessageDeflate: false,
      maxPayload: maxMessageBytes,
    });
    await opened(webSocket, socket, url, signal);
    const stream: Duplex = createWebSocketStream(webSocket, {
      // the codec writes a packet in crumbs: they go together
      writev(pieces: readonly { readonly chunk: Uint8Array }[], done: (error?: Error | null) => void) {
        const messages = joinPieces(pieces.map(piece => piece.chunk));
        for (const [i, message] of messages.entries()) {
          webSocket.send(message, i === messages.length - 1 ? done : undefined);
        }
      },
    });
    // whoever takes the stream adds its own; an error in between must not be fatal
    stream.on('error', () => {});
    // the closing handshake may wait for a side that is gone
    stream.once('error', () => socket.destroy());
    // the stream of ws would wait for its writer to end too, and the break be noticed by the keep-alive alone
    stream.once('end', () => stream.destroy());
    return stream;
  };
}

/** Waits for the answer to the upgrade. */
function opened(webSocket: WebSocket, socket: TLSSocket, url: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) => {
      forget();
      webSocket.on('error', () => {});
      socket.destroy();
      reject(new MesoliteError('UNAVAILABLE', `no WebSocket at ${url}: ${messageOf(cause)}`, { cause }));
    };
    webSocket.once('error', fail);
    webSocket.once('open', () => {
      forget();
      webSocket.off('error', fail);
      resolve();
    });
    const forget = onAbort(signal, () => fail(signal.reason));
  });
}

import type { Buffer } from 'node:buffer';
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import { joinPieces, mqttPath, mqttSubprotocol } from '../model/websocket.ts';
import type { Transport } from './connection.ts';

/** A message may come in so many fragments, and wait in so many pieces of the network: each costs a buffer. */
const maxFragments = 256;
const maxBufferedChunks = 2048;

/** Takes an HTTP server's `upgrade` events for MQTT over WebSocket and answers what is not that. */
export interface WebSocketDoor {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

export function makeWebSocketDoor(
  parts: {
    /** The HTTP status with which this one is to be turned away, if it is. */
    readonly whyNot: (socket: TLSSocket) => 429 | 503 | undefined;
    readonly onOpen: (transport: Transport) => void;
    readonly onRefused: () => void;
  },
  settings: { readonly maxMessageBytes: number },
): WebSocketDoor {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: settings.maxMessageBytes,
    maxFragments,
    maxBufferedChunks,
    handleProtocols: () => mqttSubprotocol,
  });
  server.on('wsClientError', (_error, socket) => {
    parts.onRefused();
    socket.end(statusLine(400));
  });

  return {
    upgrade(request, socket, head) {
      // whoever leaves in the middle of it
      socket.on('error', () => socket.destroy());
      const status = whyNotMqtt(request) ?? (socket instanceof TLSSocket ? parts.whyNot(socket) : 400);
      if (status !== undefined || !(socket instanceof TLSSocket)) {
        parts.onRefused();
        socket.once('finish', () => socket.destroy());
        socket.end(statusLine(status ?? 400));
        return;
      }
      server.handleUpgrade(request, socket, head, webSocket =>
        parts.onOpen({ stream: streamOf(webSocket), tls: socket }),
      );
    },
  };
}

function whyNotMqtt({ url, headers }: IncomingMessage): 400 | 404 | undefined {
  if (url !== mqttPath) return 404;
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map(text => text.trim());
  return offered.includes(mqttSubprotocol) ? undefined : 400;
}

function statusLine(status: number): string {
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`;
}

function streamOf(webSocket: WebSocket): Duplex {
  // a codec writes a packet in crumbs: they go together
  const stream = createWebSocketStream(webSocket, {
    writev(pieces: readonly { readonly chunk: Buffer }[], done: (error?: Error | null) => void) {
      const messages = joinPieces(pieces.map(piece => piece.chunk));
      for (const [i, message] of messages.entries()) {
        webSocket.send(message, i === messages.length - 1 ? done : undefined);
      }
    },
  });
  webSocket.on('message', (_data, isBinary) => {
    // MQTT 3.1.1, MQTT-6.0.0-1
    if (!isBinary) stream.destroy(new Error('a text message'));
  });
  return stream;
}

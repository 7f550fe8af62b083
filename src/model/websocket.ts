import { Buffer } from 'node:buffer';

// MQTT over WebSocket (MQTT 3.1.1, section 6), as both ends of it speak.

export const mqttPath = '/mqtt';
export const mqttSubprotocol = 'mqtt';

/** Small pieces of packets go together into one message of at most so many bytes. */
const joinedBytes = 64 * 1024;

/** Joins what a codec writes in crumbs: each result is one WebSocket message, in order, and longer than 64 KiB only where one piece is. */
export function joinPieces(pieces: readonly Uint8Array[]): Uint8Array[] {
  const messages: Uint8Array[] = [];
  let group: Uint8Array[] = [];
  let bytes = 0;
  const flush = () => {
    if (group.length > 0) messages.push(group.length === 1 && group[0] ? group[0] : Buffer.concat(group));
    group = [];
    bytes = 0;
  };
  for (const piece of pieces) {
    if (bytes + piece.length > joinedBytes) flush();
    group.push(piece);
    bytes += piece.length;
  }
  flush();
  return messages;
}

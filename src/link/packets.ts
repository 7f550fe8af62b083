import type { IConnectPacket, Packet } from 'mqtt-packet';

/** One way of the link, as an MQTT packet. */
export interface CountedPacket {
  /** Absent for packets that carry no message. */
  readonly topic: string | undefined;
  readonly bytes: number;
}

/** Of a TLS 1.3 record (RFC 8446, 5.2), of IPv4 and TCP with timestamps (RFC 791, 9293), and of the acknowledgement that comes back. */
const tlsBytes = 22;
const tcpBytes = 52;
const segmentBytes = 1400;

/** What `bytes` that are written at once take of a network, both ways. */
export function wireBytes(bytes: number): number {
  return bytes + tlsBytes + Math.ceil((bytes + tlsBytes) / segmentBytes) * 2 * tcpBytes;
}

/** What a packet takes of the network, both ways; of what is not a message about that. */
export function countPacket(packet: Packet): CountedPacket {
  switch (packet.cmd) {
    case 'publish': {
      const { topic, payload, qos } = packet;
      const bytes = 4 + 2 + Buffer.byteLength(topic) + (qos > 0 ? 2 : 0) + Buffer.byteLength(payload);
      return { topic, bytes: wireBytes(bytes) };
    }
    case 'connect':
      return { topic: undefined, bytes: wireBytes(connectBytes(packet)) };
    case 'subscribe':
      return {
        topic: undefined,
        bytes: wireBytes(packet.subscriptions.reduce((sum, each) => sum + each.topic.length + 3, 4)),
      };
    default:
      return { topic: undefined, bytes: wireBytes(4) };
  }
}

function connectBytes({ clientId, will }: IConnectPacket): number {
  return 18 + clientId.length + (will === undefined ? 0 : will.topic.length + Buffer.byteLength(will.payload) + 4);
}

import type { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Cell } from '../base/cell.ts';
import type { Peer } from '../model/identity.ts';
import type { CompiledPeerAuthentication } from '../policy/peer-authentication.ts';
import { addressOf } from './address.ts';
import type { Deadlines } from './deadlines.ts';
import type { TargetForm } from './http2/request-text.ts';
import type { Listener } from './listener.ts';
import { type InboundConnection, type InboundParts, InboundPipeline } from './pipeline.ts';
import { admitClient } from './published.ts';
import type { ByteStream } from './wire/byte-stream.ts';
import type { Pipeline } from './wire/exchange.ts';

export interface OutsideParts {
  readonly inbound: InboundParts;
  readonly deadlines: Deadlines;
  readonly peerAuthentication: Cell<CompiledPeerAuthentication>;
  /** Who has just done a handshake; closes the connection of whom nobody knows. */
  readonly identify: (socket: TLSSocket) => Peer | undefined;
  /** False when the connection is not for a task that speaks TCP. */
  readonly takeTcp: (stream: ByteStream, connection: InboundConnection, early?: Buffer) => boolean;
  readonly servePlain: (
    listener: Listener,
    stream: ByteStream,
    form: TargetForm,
    pipelineOf: () => Pipeline,
    early?: Buffer,
  ) => void;
  readonly serveSecure: (listener: Listener, socket: TLSSocket, pipelineOf: () => Pipeline) => void;
  readonly onFailedHandshake: () => void;
}

/** Takes a client of a published port as PeerAuthentication says, and serves it as a peer would be. */
export function acceptOutside(
  parts: OutsideParts,
  socket: Socket,
  listener: Listener,
  find: InboundConnection['find'],
): void {
  const { inbound, peerAuthentication, identify, takeTcp, onFailedHandshake } = parts;
  const served = find(inbound.workloads());
  if (served === undefined) {
    socket.destroy();
    return;
  }
  const { workload, port, application } = served;
  const isHttp = application?.protocol !== 'tcp';
  const mode = peerAuthentication.value.modeOf(workload.identity, port);
  const ends = { find, sourceIp: addressOf(socket.remoteAddress), localIp: addressOf(socket.localAddress) };
  admitClient(socket, { mode, workload, isHttp }, parts.deadlines, {
    onPlain(plain, early) {
      listener.established(plain);
      const mayBePlain = plainWatch(parts, find);
      const connection = { ...ends, serverName: undefined, peer: undefined, outside: 'http', mayBePlain } as const;
      if (takeTcp(plain, connection, early)) return;
      parts.servePlain(listener, plain, 'origin', () => new InboundPipeline(inbound, connection), early);
    },
    onSecure(secure) {
      listener.established(secure);
      const peer = identify(secure);
      if (peer === undefined) return;
      const serverName = typeof secure.servername === 'string' ? secure.servername : undefined;
      const connection = { ...ends, serverName, peer, outside: 'https' } as const;
      if (!takeTcp(secure, connection))
        parts.serveSecure(listener, secure, () => new InboundPipeline(inbound, connection));
    },
    onFailed: onFailedHandshake,
  });
}

/** Asks the rules anew when there are others: a connection that stays open must not outlive what it was let in by. */
function plainWatch({ inbound, peerAuthentication }: OutsideParts, find: InboundConnection['find']): () => boolean {
  let asked = peerAuthentication.value;
  let mayBePlain = true;
  return () => {
    if (peerAuthentication.value === asked) return mayBePlain;
    asked = peerAuthentication.value;
    const served = find(inbound.workloads());
    mayBePlain = served !== undefined && asked.modeOf(served.workload.identity, served.port) !== 'STRICT';
    return mayBePlain;
  };
}

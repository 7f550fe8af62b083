import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { onAbort } from '../base/signal.ts';
import type { ProxyRules } from './proxy-rules.ts';
import { openTunnel } from './tunnel.ts';

/** Opens a stream to the broker, trusted and ready for MQTT; throws UNAVAILABLE or UNTRUSTED. */
export type Dial = (signal: AbortSignal) => Promise<Duplex>;

export interface TlsDialParts {
  /**
   * Key, chain and trust, asked at each connection, so that a rotation needs no restart. With `rejectUnauthorized: false` the chain is
   * `verifyServer`'s to judge: for joins, and for clocks that are known to be wrong.
   */
  readonly tls: () => ConnectionOptions;
  /** Judges who the server is after the handshake, before one byte of MQTT is sent; an error refuses it. */
  readonly verifyServer: (socket: TLSSocket) => Error | undefined;
  /** Through which proxy to go, if any. */
  readonly proxyFor?: ProxyRules;
}

export interface TlsDialSettings {
  readonly host: string;
  readonly port: number;
  /** Sent as SNI; the host when absent, unless that is an address. */
  readonly servername?: string;
}

/** Dials MQTT over TLS. */
export function tlsDial(parts: TlsDialParts, settings: TlsDialSettings): Dial {
  return signal => openTls(parts, settings, signal);
}

/** A TLS connection to whom `verifyServer` takes for the broker; nothing has been sent over it. */
export async function openTls(parts: TlsDialParts, settings: TlsDialSettings, signal: AbortSignal): Promise<TLSSocket> {
  if (signal.aborted) throw new MesoliteError('UNAVAILABLE', 'stopped before connecting', { cause: signal.reason });
  const { host, port, servername = isIP(host) === 0 ? host : '' } = settings;
  const place = `${host}:${port}`;
  const proxy = parts.proxyFor?.(host, port);
  const way = proxy === undefined ? { host, port } : { socket: await openTunnel(proxy, { host, port }, signal) };
  const socket = connect({ ...parts.tls(), ...way, servername });
  socket.setNoDelay(true);
  await secured(socket, place, signal);
  const error = judge(socket, parts.verifyServer);
  if (error === undefined) return socket;
  socket.destroy();
  throw untrusted(place, error);
}

function judge(socket: TLSSocket, verifyServer: TlsDialParts['verifyServer']): Error | undefined {
  try {
    return verifyServer(socket);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function untrusted(place: string, cause: unknown): MesoliteError {
  return new MesoliteError('UNTRUSTED', `${place} is not the broker it should be: ${messageOf(cause)}`, { cause });
}

/** Waits for the end of the TLS handshake. */
function secured(socket: TLSSocket, place: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) => {
      forget();
      socket.destroy();
      // set when it was the chain that did not verify; the types know it as an Error alone
      const isUntrusted = socket.authorizationError !== null && socket.authorizationError !== undefined;
      if (isUntrusted) reject(untrusted(place, cause));
      else reject(new MesoliteError('UNAVAILABLE', `cannot connect to ${place}: ${messageOf(cause)}`, { cause }));
    };
    const closed = () => fail('closed during the TLS handshake');
    socket.once('error', fail);
    socket.once('close', closed);
    socket.once('secureConnect', () => {
      forget();
      socket.off('close', closed);
      socket.off('error', fail);
      // whoever takes the stream adds its own; an error in between must not be fatal
      socket.on('error', () => {});
      resolve();
    });
    const forget = onAbort(signal, () => fail(signal.reason));
  });
}

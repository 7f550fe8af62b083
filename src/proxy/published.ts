import type { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { secondMs } from '../base/clock.ts';
import type { MtlsMode } from '../model/peer-authentication.ts';
import type { Deadlines, Timed } from './deadlines.ts';
import type { LocalWorkload } from './workload.ts';

/** How a client of a published port is taken. */
export interface Admission {
  readonly mode: MtlsMode;
  readonly workload: LocalWorkload;
  /** What is behind the port speaks HTTP, and the client before it. */
  readonly isHttp: boolean;
}

export interface AdmissionEvents {
  /** It speaks without TLS; `early` has been read of it, paused. */
  onPlain(socket: Socket, early: Buffer | undefined): void;
  /** The handshake is done, in this turn: nothing of the client has been read, and its certificate is not judged. */
  onSecure(socket: TLSSocket): void;
  onFailed(): void;
}

/** The first byte of a TLS handshake record (RFC 8446 section 5.1). */
const handshakeRecord = 0x16;
/** A client that speaks first does so at once; one that waits for the server is taken to speak without TLS. */
const quietMs = secondMs;
const firstByteMs = 10 * secondMs;
const handshakeMs = 10 * secondMs;

/** Finds out whether a client of a published port speaks TLS, as far as PeerAuthentication leaves that open. */
export function admitClient(socket: Socket, admission: Admission, deadlines: Deadlines, events: AdmissionEvents): void {
  switch (admission.mode) {
    case 'DISABLE':
      events.onPlain(socket, undefined);
      return;
    case 'STRICT':
      new Handshake(socket, admission, deadlines, events);
      return;
    case 'PERMISSIVE':
      new FirstByte(socket, admission, deadlines, events);
      return;
    default:
      admission.mode satisfies never;
  }
}

/** Waits for what a client says first. */
class FirstByte implements Timed {
  deadlineAt: number;
  readonly #socket: Socket;
  readonly #admission: Admission;
  readonly #deadlines: Deadlines;
  readonly #events: AdmissionEvents;

  constructor(socket: Socket, admission: Admission, deadlines: Deadlines, events: AdmissionEvents) {
    this.#socket = socket;
    this.#admission = admission;
    this.#deadlines = deadlines;
    this.#events = events;
    socket.on('error', ignoreError);
    socket.on('data', this.#onData);
    socket.on('end', this.#onGone);
    socket.on('close', this.#onGone);
    deadlines.add(this);
    this.deadlineAt = deadlines.now + (admission.isHttp ? firstByteMs : quietMs);
  }

  onDeadline(): void {
    this.#letGo();
    if (this.#admission.isHttp) this.#socket.destroy();
    else this.#events.onPlain(this.#socket, undefined);
  }

  readonly #onData = (bytes: Buffer): void => {
    this.#letGo();
    if (bytes[0] === handshakeRecord) {
      this.#socket.unshift(bytes);
      new Handshake(this.#socket, this.#admission, this.#deadlines, this.#events);
    } else this.#events.onPlain(this.#socket, bytes);
  };

  readonly #onGone = (): void => {
    this.#letGo();
    this.#socket.destroy();
  };

  #letGo(): void {
    const socket = this.#socket;
    this.#deadlines.delete(this);
    socket.pause();
    socket.off('data', this.#onData);
    socket.off('end', this.#onGone);
    socket.off('close', this.#onGone);
  }
}

/** A TLS handshake with the certificate of the workload, whatever name or address the client knows it by. */
class Handshake implements Timed {
  deadlineAt: number;
  readonly #socket: Socket;

  constructor(socket: Socket, { workload, isHttp }: Admission, deadlines: Deadlines, events: AdmissionEvents) {
    this.#socket = socket;
    this.deadlineAt = deadlines.now + handshakeMs;
    deadlines.add(this);
    const secure = new TLSSocket(socket, {
      isServer: true,
      secureContext: workload.tls.value,
      requestCert: true,
      // OpenSSL knows neither the node's clock nor who is revoked
      rejectUnauthorized: false,
      ...(isHttp && { ALPNProtocols: ['h2', 'http/1.1'] }),
    });
    let isSecure = false;
    socket.on('error', ignoreError);
    secure.on('error', ignoreError);
    secure.once('secure', () => {
      isSecure = true;
      deadlines.delete(this);
      secure.allowHalfOpen = !isHttp;
      // node:http2 waits for this, which Node sets on the sockets of its own servers alone (seen on 20.20)
      Object.assign(secure, { secureConnecting: false });
      events.onSecure(secure);
    });
    secure.once('close', () => {
      deadlines.delete(this);
      if (!isSecure) events.onFailed();
    });
  }

  onDeadline(): void {
    this.#socket.destroy();
  }
}

/** Errors are followed by 'close'. */
function ignoreError(): void {}

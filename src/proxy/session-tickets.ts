import type { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import type { Server } from 'node:tls';
import { type Clock, hourMs } from '../base/clock.ts';

/** Tickets are sealed with one key for so long and accepted for as long again; they live for five minutes themselves. */
const keyLifeMs = hourMs;

/** What RFC 5077 section 4 recommends: a name by which the key is known again, and one key each to sign and to encrypt. */
interface TicketKey {
  readonly name: Buffer;
  readonly hmac: Buffer;
  readonly aes: Buffer;
  readonly madeAt: number;
}

/** What OpenSSL's callback answers: the ticket is not ours, is sealed, or is good and shall be followed by a new one. */
const answer = { unknown: 0, sealed: 1, renew: 2 } as const;

/** Node's handle of an SSL_CTX, of which its documentation does not tell. */
interface TicketHandle {
  enableTicketKeyCallback(): void;
  /** Sealing wants `[answer, hmac, aes, name, iv]`, opening the first three. */
  onticketkeycallback: (name: Buffer, iv: Buffer, seals: boolean) => readonly (number | Buffer)[];
}

/**
 * Gives a client that resumes its TLS session a ticket for the next time, as nginx and HAProxy do. Node itself gives tickets after
 * full handshakes alone, and since clients use a TLS 1.3 ticket once (RFC 8446 appendix C.4), only every second connection would be
 * resumed. False where Node has no such handle: then it stays at that.
 */
export function renewTickets(server: Server, clock: Clock): boolean {
  const handle = handleOf(server);
  if (handle === undefined) return false;
  let current = makeKey(clock.monotonic());
  let previous = current;
  handle.onticketkeycallback = (name, _iv, seals) => {
    const now = clock.monotonic();
    if (now - current.madeAt >= keyLifeMs) {
      previous = current;
      current = makeKey(now);
    }
    // also where nobody came for a while
    if (now - previous.madeAt >= 2 * keyLifeMs) previous = current;
    if (seals) return [answer.sealed, current.hmac, current.aes, current.name, randomBytes(16)];
    const key = name.equals(current.name) ? current : previous;
    return [name.equals(key.name) ? answer.renew : answer.unknown, key.hmac, key.aes];
  };
  handle.enableTicketKeyCallback();
  return true;
}

function makeKey(madeAt: number): TicketKey {
  return { name: randomBytes(16), hmac: randomBytes(16), aes: randomBytes(16), madeAt };
}

/** The handle of the server's own context, which seals and opens the tickets whatever certificate was picked by server name. */
function handleOf(server: Server): TicketHandle | undefined {
  const context: unknown = Reflect.get(server, '_sharedCreds');
  const handle: unknown = isObject(context) ? Reflect.get(context, 'context') : undefined;
  return isTicketHandle(handle) ? handle : undefined;
}

function isTicketHandle(value: unknown): value is TicketHandle {
  return isObject(value) && typeof Reflect.get(value, 'enableTicketKeyCallback') === 'function';
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

import { Buffer } from 'node:buffer';
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { sha256Hex } from './keys.ts';

/** What is needed to join, apart from where: the id names the token in topics and lists, the secret proves that one holds it. */
export interface JoinToken {
  readonly id: string;
  /** 256 random bits in base64url. */
  readonly secret: string;
}

const apiTokenPrefix = 'mesolite_';
const secretBytes = 32;

/** The id is hexadecimal, so that none begins with `-` and is taken for an option of a command. */
export function makeJoinToken(): JoinToken {
  return { id: randomBytes(6).toString('hex'), secret: randomBytes(secretBytes).toString('base64url') };
}

/** A name for one attempt to join: 128 random bits in base64url, fit for a topic. */
export function makeNonce(): string {
  return randomBytes(16).toString('base64url');
}

/**
 * The key of the join's HMACs. The master stores this in place of the secret, so that no token lies on its disk; who
 * reads it there can still make requests in that one token's name while it may be used, so it is a secret too.
 */
export function deriveJoinKey(secret: string): Buffer {
  return createHmac('sha256', Buffer.from(secret, 'base64url')).update('mesolite/v1/join/key').digest();
}

/** The `mac` of a join request (model/message.ts): `body` is the exact text. */
export function joinRequestMac(joinKey: Uint8Array, nonce: string, body: string): string {
  return macOf(joinKey, ['mesolite/v1/join/req', nonce, body]);
}

/** The `mac` of a join response: `keyId` is the SHA-256 of the requester's SPKI, `body` the exact text. */
export function joinResponseMac(joinKey: Uint8Array, nonce: string, keyId: string, body: string): string {
  return macOf(joinKey, ['mesolite/v1/join/res', nonce, keyId, body]);
}

/** Only the last of `parts` may hold a line feed, or two different lists would give one text. */
function macOf(key: Uint8Array, parts: readonly string[]): string {
  return createHmac('sha256', key)
    .update(parts.map(part => `${part}\n`).join(''))
    .digest('base64url');
}

/** Compares two MACs or hashes in constant time; their length is no secret. */
export function macEquals(a: string, b: string): boolean {
  const left = Buffer.from(a);
  const right = Buffer.from(b);
  return left.length === right.length && timingSafeEqual(left, right);
}

/** A bearer token for the HTTP API: 256 random bits behind a prefix that secret scanners can know. */
export function makeApiToken(): string {
  return apiTokenPrefix + randomBytes(secretBytes).toString('base64url');
}

/** What the master stores of a bearer token: a plain SHA-256 is enough, since nobody can guess 256 bits. */
export function hashApiToken(token: string): string {
  return sha256Hex(token);
}

export function apiTokenMatches(token: string, storedHash: string): boolean {
  return macEquals(hashApiToken(token), storedHash);
}

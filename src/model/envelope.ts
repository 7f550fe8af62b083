import { Buffer } from 'node:buffer';
import * as v from 'valibot';
import { MesoliteError } from '../base/errors.ts';
import { type Bounds, decodeJson } from '../base/shape.ts';

/**
 * All that the master says to nodes travels in an envelope: one line `mesolite1 <key id> <signature>` and, after a line
 * feed, the payload's JSON. The signature (ES256, IEEE P1363, base64url) is over the context, a zero byte and the exact payload bytes,
 * and nothing of the payload is parsed before it verifies. The payload says what it is (`kind`), for whom (`subject`),
 * which revision, and until when, so that it cannot be replayed on another topic, to another node, or after a newer one.
 */
const magic = 'mesolite1';
const signingContext = Buffer.from('mesolite/v1/envelope\0');
const maxHeadBytes = 256;

/** Signs bytes with the key that `keyId` names (hexadecimal SHA-256 of its SPKI); 64-byte P1363 signature. */
export interface EnvelopeSigner {
  readonly keyId: string;
  sign(bytes: Uint8Array): Uint8Array;
}

/** Whether `signature` over `bytes` is by the key `keyId`, one that is trusted for configuration now. */
export type EnvelopeVerifier = (keyId: string, bytes: Uint8Array, signature: Uint8Array) => boolean;

export const envelopeKinds = ['assignment', 'ask', 'ack', 'policy', 'service', 'manifest'] as const;
export type EnvelopeKind = (typeof envelopeKinds)[number];

const payloadSchema = v.strictObject({
  kind: v.picklist(envelopeKinds),
  /** The node of what goes `down`, the key of a service, `all` otherwise. */
  subject: v.pipe(v.string(), v.maxLength(128)),
  /** Rises within (kind, subject); master epochs are its upper part, so that it never falls. */
  revision: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  /** Milliseconds since 1970. */
  issuedAt: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  expiresAt: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  body: v.unknown(),
});

export type Envelope = v.InferOutput<typeof payloadSchema>;

/** What the bytes on the wire are. */
export function sealEnvelope(envelope: Envelope, signer: EnvelopeSigner): Buffer {
  const payload = Buffer.from(JSON.stringify(envelope));
  const signature = signer.sign(Buffer.concat([signingContext, payload]));
  return Buffer.concat([
    Buffer.from(`${magic} ${signer.keyId} ${Buffer.from(signature).toString('base64url')}\n`),
    payload,
  ]);
}

/** The id of the key that an envelope says it is signed with; empty for what is none. Proves nothing. */
export function signingKeyOf(wire: Uint8Array): string {
  const head = Buffer.from(wire.buffer, wire.byteOffset, Math.min(wire.byteLength, maxHeadBytes)).toString('latin1');
  return /^mesolite1 ([0-9a-f]{64}) /.exec(head)?.[1] ?? '';
}

/** Verifies, then parses; throws UNTRUSTED when the signature does not hold, INVALID_INPUT or TOO_LARGE otherwise. */
export function openEnvelope(wire: Uint8Array, verify: EnvelopeVerifier, bounds: Bounds): Envelope {
  if (wire.length > bounds.maxBytes) {
    throw new MesoliteError('TOO_LARGE', `envelope: ${wire.length} bytes, at most ${bounds.maxBytes} are taken`);
  }
  const bytes = Buffer.from(wire.buffer, wire.byteOffset, wire.byteLength);
  const end = bytes.subarray(0, maxHeadBytes).indexOf(0x0a);
  const head = /^mesolite1 ([0-9a-f]{64}) ([A-Za-z0-9_-]{86})$/.exec(bytes.toString('latin1', 0, Math.max(0, end)));
  const [, keyId, written = ''] = head ?? [];
  const signature = Buffer.from(written, 'base64url');
  // the last of 86 characters has four bits that say nothing: only one way to write a signature is taken
  if (keyId === undefined || signature.toString('base64url') !== written) {
    throw new MesoliteError('UNTRUSTED', 'envelope: not signed');
  }
  const payload = bytes.subarray(end + 1);
  if (!verify(keyId, Buffer.concat([signingContext, payload]), signature)) {
    throw new MesoliteError('UNTRUSTED', `envelope: the signature of key ${keyId.slice(0, 16)} does not verify`);
  }
  return decodeJson(payloadSchema, payload, 'envelope', bounds);
}

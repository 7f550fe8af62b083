import { Buffer } from 'node:buffer';
import type { Clock } from '../base/clock.ts';
import { isMesoliteError, messageOf } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import { decodeJson } from '../base/shape.ts';
import type { Authority } from '../identity/authority.ts';
import { joinRequestMac, joinResponseMac, macEquals } from '../identity/token.ts';
import {
  encodeMessage,
  type JoinRequest,
  type JoinResult,
  joinRequestBodySchema,
  joinRequestSchema,
  messageBounds,
} from '../model/message.ts';
import { parseTopic, topics } from '../model/topics.ts';
import type { JoinToken, JoinTokens } from '../store/join-tokens.ts';
import type { CertificateBook } from './certificate-book.ts';
import type { Publisher } from './outgoing.ts';

/** Lets nodes in: the token's secret never travels, its HMAC does, over the request and over the answer. */
export interface Enrollment {
  /** A message on `join/<token>/<nonce>/req`. */
  handle(topic: string, payload: Uint8Array): Promise<void>;
}

interface Attempt {
  readonly token: JoinToken;
  readonly nonce: string;
  readonly request: JoinRequest;
}

export function makeEnrollment(parts: {
  readonly tokens: JoinTokens;
  readonly authority: Authority;
  readonly book: Pick<CertificateBook, 'record'>;
  readonly link: Publisher;
  readonly clock: Clock;
  readonly log: Log;
  readonly onJoined: (node: string) => Promise<void>;
}): Enrollment {
  const { tokens, authority, book, link, clock, log, onJoined } = parts;
  const gate = new Gate(256);

  /** Undefined when the request does not prove that its sender has the token's secret: such a one gets no answer. */
  async function authenticate(tokenId: string, nonce: string, payload: Uint8Array): Promise<Attempt | undefined> {
    const { body, mac } = decodeJson(joinRequestSchema, payload, 'join request', messageBounds.join);
    const token = await tokens.get(tokenId);
    if (token === undefined || !macEquals(mac, joinRequestMac(keyOf(token), nonce, body))) return undefined;
    return { token, nonce, request: decodeJson(joinRequestBodySchema, body, 'join request', messageBounds.join) };
  }

  async function admit({ token, request }: Attempt): Promise<{ result: JoinResult; keyId: string }> {
    const now = clock.now();
    const issued = authority.issueNode(Buffer.from(request.csr, 'base64'), request.node, now);
    const { node } = request;
    const attempt = { tokenId: token.id, keyPin: issued.keyId, node, chain: issued.chainPem, at: now };
    const admission = await tokens.admit(attempt);
    if (!admission.admitted) return { result: { status: 'refused', reason: admission.reason }, keyId: issued.keyId };
    // what is not in the book could not be revoked
    await book.record(admission.chain, node);
    if (!admission.repeated) await onJoined(node);
    log.info('a node joined', { node, tokenId: token.id, repeated: admission.repeated });
    const result: JoinResult = {
      status: 'accepted',
      trustDomain: authority.trustDomain,
      chain: admission.chain,
      roots: [...authority.roots],
      signers: [...authority.signers],
      time: Math.floor(now),
    };
    return { result, keyId: issued.keyId };
  }

  async function answer(attempt: Attempt): Promise<void> {
    const { token, nonce, request } = attempt;
    let result: JoinResult;
    let keyId = '';
    try {
      ({ result, keyId } = await gate.run(() => admit(attempt)));
    } catch (error) {
      // a fault of ours, or too many at once, is no answer: the node asks again
      if (!isMesoliteError(error) || error.code === 'QUEUE_FULL') throw error;
      result = { status: 'refused', reason: error.message.slice(0, 512) };
    }
    if (result.status === 'refused') {
      log.warn('a node was refused', { node: request.node, tokenId: token.id, reason: result.reason });
    }
    const body = JSON.stringify(result);
    const mac = joinResponseMac(keyOf(token), nonce, keyId, body);
    await link.publish(topics.joinResponse(token.id, nonce), encodeMessage({ v: 1, body, mac }), { qos: 1 });
  }

  return {
    async handle(topic, payload) {
      const address = parseTopic(topic);
      if (address?.kind !== 'join' || address.what !== 'req') return;
      try {
        const attempt = await authenticate(address.tokenId, address.nonce, payload);
        if (attempt === undefined) log.warn('a join request did not prove its token', { tokenId: address.tokenId });
        else await answer(attempt);
      } catch (error) {
        log.warn('a join request was dropped', { tokenId: address.tokenId, reason: messageOf(error) });
      }
    },
  };
}

function keyOf({ key }: JoinToken): Buffer {
  return Buffer.from(key, 'base64url');
}

import { Buffer } from 'node:buffer';
import { type Clock, minuteMs, secondMs } from '../base/clock.ts';
import { type ErrorCode, isMesoliteError, messageOf } from '../base/errors.ts';
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
import type { Admission, JoinToken, JoinTokens } from '../store/join-tokens.ts';
import type { CertificateBook } from './certificate-book.ts';
import type { Events } from './events.ts';
import { makeJoinGuard } from './join-guard.ts';
import type { Publisher } from './outgoing.ts';

/** When a node that waits for an operator asks again: it, and one for which there is no room in the queue. */
const retryAfterMs = 10 * secondMs;
const retryWhenFullMs = minuteMs;

const passing: ReadonlySet<ErrorCode> = new Set(['QUEUE_FULL', 'UNAVAILABLE', 'INTERNAL']);

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
  readonly tokens: Pick<JoinTokens, 'get' | 'admit'>;
  readonly authority: Pick<Authority, 'trustDomain' | 'roots' | 'signers' | 'issueNode'>;
  readonly book: Pick<CertificateBook, 'record' | 'knows'>;
  readonly link: Publisher;
  readonly events: Pick<Events, 'record'>;
  readonly clock: Clock;
  readonly log: Log;
  /** A key has been let in that was not before. */
  readonly onJoined: (node: string) => Promise<void>;
  /** Where a node finds the broker once it has joined, if it is not where it joins. */
  readonly masters?: () => readonly { readonly host: string; readonly port: number }[] | undefined;
}): Enrollment {
  const { tokens, authority, book, link, events, clock, log, onJoined } = parts;
  const gate = new Gate(256);
  const guard = makeJoinGuard({ clock });

  /** Undefined when the request does not prove that its sender has the token's secret: such a one gets no answer. */
  async function authenticate(tokenId: string, nonce: string, payload: Uint8Array): Promise<Attempt | undefined> {
    const { body, mac } = decodeJson(joinRequestSchema, payload, 'join request', messageBounds.join);
    const token = await tokens.get(tokenId);
    if (token === undefined) {
      events.record('join-refused', { message: 'somebody asked to join with a token that is not known' });
      return undefined;
    }
    if (!macEquals(mac, joinRequestMac(keyOf(token), nonce, body))) {
      log.warn('a join request did not prove its token', { tokenId });
      if (guard.onWrongProof(tokenId)) {
        events.record('join-locked', { message: `token ${tokenId} takes no joins for a while: too many wrong proofs` });
      }
      events.record('join-refused', { message: `somebody who does not have the secret of token ${tokenId} tried it` });
      return undefined;
    }
    return { token, nonce, request: decodeJson(joinRequestBodySchema, body, 'join request', messageBounds.join) };
  }

  async function admit({ token, request }: Attempt): Promise<{ result: JoinResult; keyId: string }> {
    const now = clock.now();
    const { node, labels, profile = null } = request;
    const issued = authority.issueNode(Buffer.from(request.csr, 'base64'), node, now);
    const { keyId, chainPem: chain } = issued;
    const admission = await tokens.admit({ tokenId: token.id, keyPin: keyId, node, labels, profile, chain, at: now });
    if (admission.admitted) {
      log.info('a node joined', { node, tokenId: token.id, repeated: admission.repeated });
      await welcome(node, admission.chain, `joined with token ${token.id} and key ${keyId.slice(0, 16)}`);
    }
    if ('pending' in admission && admission.isNew) announce(admission.pending, token.id, request);
    return { result: resultOf(admission, now), keyId };
  }

  /** The book is the last to know, so that what a crash has cut short is done when the node asks again. */
  async function welcome(node: string, chain: string, message: string): Promise<void> {
    if (await book.knows(chain)) return;
    await onJoined(node);
    events.record('node-joined', { node, message });
    // what is not in the book could not be revoked
    await book.record(chain, node);
  }

  function announce(id: string | null, tokenId: string, { node, profile = 'of no profile' }: JoinRequest): void {
    if (id === null)
      events.record('join-pending', { message: 'too many nodes wait for an operator: approve or deny some' });
    else
      events.record('join-pending', { node, message: `${profile}, token ${tokenId}: mesolite approve ${id}, or deny` });
  }

  function resultOf(admission: Admission, now: number): JoinResult {
    if ('pending' in admission) {
      return { status: 'pending', retryAfterMs: admission.pending === null ? retryWhenFullMs : retryAfterMs };
    }
    if (!admission.admitted) return { status: 'refused', reason: admission.reason };
    const masters = parts.masters?.();
    return {
      status: 'accepted',
      trustDomain: authority.trustDomain,
      chain: admission.chain,
      roots: [...authority.roots],
      signers: [...authority.signers],
      ...(masters !== undefined && { masters: [...masters] }),
      time: Math.floor(now),
    };
  }

  async function answer(attempt: Attempt): Promise<void> {
    const { token, nonce, request } = attempt;
    let result: JoinResult;
    let keyId = '';
    try {
      ({ result, keyId } = await gate.run(() => admit(attempt)));
    } catch (error) {
      // what passes by itself gets no answer: the node asks again, and a refusal would be final
      if (!isMesoliteError(error) || passing.has(error.code)) throw error;
      result = { status: 'refused', reason: error.message.slice(0, 512) };
    }
    if (result.status === 'refused') {
      // as a message: who has a token can call itself anything, and each node has rows of its own
      events.record('join-refused', { message: `${request.node}, token ${token.id}: ${result.reason}` });
    }
    const body = JSON.stringify(result);
    const mac = joinResponseMac(keyOf(token), nonce, keyId, body);
    await link.publish(topics.joinResponse(token.id, nonce), encodeMessage({ v: 1, body, mac }), { qos: 1 });
  }

  return {
    async handle(topic, payload) {
      const address = parseTopic(topic);
      if (address?.kind !== 'join' || address.what !== 'req') return;
      const { tokenId, nonce } = address;
      if (guard.isLocked(tokenId)) return;
      try {
        const attempt = await authenticate(tokenId, nonce, payload);
        if (attempt !== undefined) await answer(attempt);
      } catch (error) {
        log.warn('a join request was dropped', { tokenId, reason: messageOf(error) });
      }
    },
  };
}

function keyOf({ key }: JoinToken): Buffer {
  return Buffer.from(key, 'base64url');
}

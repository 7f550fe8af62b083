import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { type EnvelopeKind, type EnvelopeSigner, sealEnvelope } from '../model/envelope.ts';
import { type Ask, type Assignment, type MasterAck, messageBounds } from '../model/message.ts';
import { topics } from '../model/topics.ts';
import { masterTimes } from './config.ts';

/** As much of `link/link.ts` as the master says. */
export interface Publisher {
  publish(
    topic: string,
    payload: Uint8Array,
    options: { readonly qos: 0 | 1; readonly retain?: boolean },
  ): Promise<void>;
}

/** All that the master says to nodes, sealed. Each throws TOO_LARGE for what no node would take. */
export interface Outgoing {
  assignment(node: string, body: Assignment): Promise<void>;
  ask(node: string, body: Ask): Promise<void>;
  ack(node: string, body: MasterAck): Promise<void>;
  /** Retained; `revision` is the document's own. */
  policy(revision: number, body: object): Promise<void>;
  service(key: string, revision: number, body: object): Promise<void>;
  manifest(revision: number, body: object): Promise<void>;
}

export function makeOutgoing(parts: {
  readonly link: Publisher;
  /** Asked for each message: signers follow each other. */
  readonly signer: () => EnvelopeSigner;
  readonly clock: Clock;
  /** Revisions of what is not stored: rises with every message. */
  readonly nextRevision: () => number;
}): Outgoing {
  const { link, signer, clock, nextRevision } = parts;

  function seal(kind: EnvelopeKind, subject: string, revision: number, ttlMs: number, body: object) {
    const issuedAt = Math.max(0, Math.floor(clock.now()));
    const wire = sealEnvelope({ kind, subject, revision, issuedAt, expiresAt: issuedAt + ttlMs, body }, signer());
    const { maxBytes } = messageBounds.down;
    if (wire.length > maxBytes) {
      throw new MesoliteError(
        'TOO_LARGE',
        `${kind} for ${subject}: ${wire.length} bytes, at most ${maxBytes} are taken`,
      );
    }
    return wire;
  }

  const direct = async (kind: 'assignment' | 'ask' | 'ack', node: string, body: object) =>
    link.publish(
      topics.down(node, kind === 'assignment' ? 'task' : kind),
      seal(kind, node, nextRevision(), masterTimes.messageTtlMs, body),
      { qos: 1 },
    );

  const retained = async (
    topic: string,
    kind: 'policy' | 'service' | 'manifest',
    subject: string,
    revision: number,
    ttlMs: number,
    body: object,
  ) => link.publish(topic, seal(kind, subject, revision, ttlMs, body), { qos: 1, retain: true });

  return {
    assignment: (node, body) => direct('assignment', node, body),
    ask: (node, body) => direct('ask', node, body),
    ack: (node, body) => direct('ack', node, body),
    policy: (revision, body) => retained(topics.policy, 'policy', 'all', revision, masterTimes.documentTtlMs, body),
    service: (key, revision, body) =>
      retained(topics.service(key), 'service', key, revision, masterTimes.documentTtlMs, body),
    manifest: (revision, body) =>
      retained(topics.manifest, 'manifest', 'all', revision, masterTimes.manifestTtlMs, body),
  };
}

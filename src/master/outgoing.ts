import type { Clock } from '../base/clock.ts';
import { type EnvelopeKind, type EnvelopeSigner, sealEnvelope } from '../model/envelope.ts';
import type { Ask, Assignment, MasterAck } from '../model/message.ts';
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

/** All that the master says to nodes, sealed. */
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
  readonly signer: EnvelopeSigner;
  readonly clock: Clock;
  /** Revisions of what is not stored: rises with every message. */
  readonly nextRevision: () => number;
}): Outgoing {
  const { link, signer, clock, nextRevision } = parts;

  function seal(kind: EnvelopeKind, subject: string, revision: number, ttlMs: number, body: object) {
    const issuedAt = Math.max(0, Math.floor(clock.now()));
    return sealEnvelope({ kind, subject, revision, issuedAt, expiresAt: issuedAt + ttlMs, body }, signer);
  }

  const direct = (kind: 'assignment' | 'ask' | 'ack', node: string, body: object) =>
    link.publish(
      topics.down(node, kind === 'assignment' ? 'task' : kind),
      seal(kind, node, nextRevision(), masterTimes.messageTtlMs, body),
      { qos: 1 },
    );

  return {
    assignment: (node, body) => direct('assignment', node, body),
    ask: (node, body) => direct('ask', node, body),
    ack: (node, body) => direct('ack', node, body),
    policy: (revision, body) =>
      link.publish(topics.policy, seal('policy', 'all', revision, masterTimes.documentTtlMs, body), {
        qos: 1,
        retain: true,
      }),
    service: (key, revision, body) =>
      link.publish(topics.service(key), seal('service', key, revision, masterTimes.documentTtlMs, body), {
        qos: 1,
        retain: true,
      }),
    manifest: (revision, body) =>
      link.publish(topics.manifest, seal('manifest', 'all', revision, masterTimes.manifestTtlMs, body), {
        qos: 1,
        retain: true,
      }),
  };
}

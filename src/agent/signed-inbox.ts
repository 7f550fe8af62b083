import type { Clock } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Files } from '../device/files.ts';
import { type Envelope, type EnvelopeVerifier, openEnvelope } from '../model/envelope.ts';
import { messageBounds } from '../model/message.ts';
import { type InForce, succeed } from '../policy/succession.ts';
import type { Sender } from './sender.ts';

/** A signed, retained document: which one, and what becomes of a body that may be taken. */
export interface SignedSlot {
  readonly kind: 'policy' | 'service' | 'manifest';
  readonly subject: string;
  /** Where the last good one is kept. */
  readonly file: string;
  /** Decodes, compiles and swaps; throws when the body is not usable, and then nothing has changed. */
  take(body: unknown, envelope: Envelope): void;
}

/** Takes newer documents and refuses the rest: unsigned, for somebody else, older, expired or unusable; each refusal is reported. */
export interface SignedInbox {
  /** Puts the last good document in force, so that it holds without a network. */
  load(): Promise<void>;
  /** Takes it after the one that is being taken; of those that wait only the newest is. Settles when nothing waits any more. */
  receive(wire: Uint8Array): Promise<void>;
  readonly inForce: InForce | undefined;
}

export interface SignedInboxParts {
  readonly verify: EnvelopeVerifier;
  readonly files: Files;
  readonly clock: Clock;
  readonly sender: Sender;
  readonly log: Log;
}

export function makeSignedInbox(parts: SignedInboxParts, slot: SignedSlot): SignedInbox {
  const { verify, files, clock, sender } = parts;
  const log = parts.log.with({ document: slot.kind, subject: slot.subject });
  let inForce: InForce | undefined;
  /** Is the one in force on the disk? */
  let isKept = false;
  let waiting: Uint8Array | undefined;
  let working: Promise<void> | undefined;

  function open(wire: Uint8Array): Envelope {
    const envelope = openEnvelope(wire, verify, messageBounds.down);
    if (envelope.kind !== slot.kind || envelope.subject !== slot.subject) {
      throw new MesoliteError(
        'UNTRUSTED',
        `a ${envelope.kind} for ${envelope.subject} came as ${slot.kind} for ${slot.subject}`,
      );
    }
    return envelope;
  }

  async function take(wire: Uint8Array): Promise<void> {
    let revision = 0;
    try {
      const envelope = open(wire);
      revision = envelope.revision;
      const decision = succeed(inForce, envelope, clock.now());
      if (decision.take === 'refuse') throw new MesoliteError('STALE', decision.reason);
      if (decision.take === 'replace') slot.take(envelope.body, envelope);
      const { expiresAt } = envelope;
      if (inForce === undefined || decision.take === 'replace' || expiresAt > inForce.expiresAt) {
        inForce = { revision, expiresAt };
        isKept = false;
      }
      if (!isKept) await keep(wire);
      sender.send('ack', { kind: slot.kind, subject: slot.subject, revision });
    } catch (error) {
      log.warn('a signed document was refused', { revision, reason: messageOf(error) });
      sender.send('ack', { kind: slot.kind, subject: slot.subject, revision, reason: messageOf(error).slice(0, 1024) });
    }
  }

  /** What is in force counts, also where it cannot be kept: on a full disk the next one is written anew. */
  async function keep(wire: Uint8Array): Promise<void> {
    try {
      await files.write(slot.file, wire);
      isKept = true;
    } catch (error) {
      log.error('a signed document is in force and could not be kept', { reason: messageOf(error) });
    }
  }

  async function takeAll(): Promise<void> {
    while (waiting !== undefined) {
      const wire = waiting;
      waiting = undefined;
      await take(wire);
    }
    working = undefined;
  }

  return {
    async load() {
      try {
        const stored = await files.read(slot.file);
        if (stored === undefined) return;
        const envelope = open(stored.value);
        slot.take(envelope.body, envelope);
        inForce = { revision: envelope.revision, expiresAt: envelope.expiresAt };
        isKept = true;
      } catch (error) {
        log.error('the stored document cannot be used', { reason: messageOf(error) });
      }
    },
    receive(wire) {
      waiting = wire;
      working ??= takeAll();
      return working;
    },
    get inForce() {
      return inForce;
    },
  };
}

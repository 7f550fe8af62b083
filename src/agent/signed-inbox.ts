import { type Clock, dayMs } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Files } from '../device/files.ts';
import { type Envelope, type EnvelopeVerifier, openEnvelope, signingKeyOf } from '../model/envelope.ts';
import { messageBounds } from '../model/message.ts';
import { type InForce, succeed } from '../policy/succession.ts';
import type { Refusals } from './refusals.ts';
import type { Sender } from './sender.ts';

/** A signed, retained document: which one, and what becomes of a body that may be taken. */
export interface SignedSlot {
  readonly kind: 'policy' | 'service' | 'manifest';
  readonly subject: string;
  /** Where the last good one is kept; absent for a slot that keeps what it needs by itself. */
  readonly file?: string;
  /** Decodes, compiles and swaps; throws when the body is not usable, and then nothing has changed. */
  take(body: unknown, envelope: Envelope): void | Promise<void>;
  /** What is said of it beside that it is in force. */
  readonly remark?: () => { readonly rollout?: string | undefined };
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
  readonly refusals: Refusals;
  readonly log: Log;
}

/** The same document with a later expiry is written so seldom; one by another key at once, since the old key will be forgotten. */
const rewriteEveryMs = dayMs;

/** `floor` is the revision below which nothing is taken, for a slot that has no file. */
export function makeSignedInbox(parts: SignedInboxParts, slot: SignedSlot, floor?: number): SignedInbox {
  const { verify, files, clock, sender, refusals } = parts;
  const log = parts.log.with({ document: slot.kind, subject: slot.subject });
  let inForce: InForce | undefined = floor === undefined ? undefined : { revision: floor, expiresAt: 0 };
  /** What is on the disk. */
  let kept = { revision: -1, expiresAt: 0, keyId: '' };
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
      if (decision.take === 'replace') await slot.take(envelope.body, envelope);
      inForce = { revision, expiresAt: envelope.expiresAt };
      await keep(wire, envelope);
      sender.send('ack', { kind: slot.kind, subject: slot.subject, revision, ...slot.remark?.() });
    } catch (error) {
      refusals.report({ kind: slot.kind, subject: slot.subject, revision, reason: messageOf(error) });
    }
  }

  /** What is in force counts, also where it cannot be kept: on a full disk the next one is written anew. */
  async function keep(wire: Uint8Array, { revision, expiresAt }: Envelope): Promise<void> {
    const keyId = signingKeyOf(wire);
    const isSame = revision === kept.revision && keyId === kept.keyId;
    if (slot.file === undefined || (isSame && expiresAt - kept.expiresAt < rewriteEveryMs)) return;
    try {
      await files.write(slot.file, wire);
      kept = { revision, expiresAt, keyId };
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
      if (slot.file === undefined) return;
      try {
        const stored = await files.read(slot.file);
        if (stored === undefined) return;
        const envelope = open(stored.value);
        await slot.take(envelope.body, envelope);
        const { revision, expiresAt } = envelope;
        inForce = { revision, expiresAt };
        kept = { revision, expiresAt, keyId: signingKeyOf(stored.value) };
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

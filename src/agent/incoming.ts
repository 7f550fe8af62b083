import { Buffer } from 'node:buffer';
import * as v from 'valibot';
import type { Clock } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { decode, decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { type Envelope, type EnvelopeVerifier, openEnvelope } from '../model/envelope.ts';
import {
  type Ask,
  type Assignment,
  askSchema,
  assignmentSchema,
  encodeMessage,
  masterAckSchema,
  messageBounds,
} from '../model/message.ts';
import { type DownKind, parseTopic } from '../model/topics.ts';
import type { Refusals } from './refusals.ts';
import type { Sender } from './sender.ts';

/** What is done with what the master says to this node alone. */
export interface DownHandlers {
  /** Why it was not carried out as it says, for the master; undefined when it was. */
  assignment(body: Assignment): Promise<string | undefined>;
  ask(body: Ask): Promise<void>;
  /** `issuedAt` is the master's time. */
  ack(body: v.InferOutput<typeof masterAckSchema>, issuedAt: number): Promise<void>;
}

/** Opens what came on a topic under `down/<node>/` and hands it on; what is not signed for this node, late or said before is refused. */
export interface Incoming {
  /** Reads what was heard before the last start. */
  load(): Promise<void>;
  handle(topic: string, payload: Uint8Array): Promise<void>;
}

/**
 * The revision that was heard last, by kind: on one topic they rise. On the disk are those of asks alone: assignments have their
 * (epoch, generation) there, and an ack names what this start of the agent has said.
 */
const fileName = 'heard';
const storedSchema = v.object({ ask: v.number() });

export function makeIncoming(parts: {
  readonly verify: EnvelopeVerifier;
  readonly files: Files;
  readonly clock: Clock;
  readonly sender: Sender;
  readonly refusals: Refusals;
  readonly handlers: DownHandlers;
  readonly log: Log;
}): Incoming {
  const { verify, files, clock, sender, refusals, handlers, log } = parts;
  const heard: Record<DownKind, number> = { task: 0, ask: 0, ack: 0 };

  function open(kind: DownKind, wire: Uint8Array): Envelope {
    const envelope = openEnvelope(wire, verify, messageBounds.down);
    const expected = envelopeKindOf(kind);
    if (envelope.kind !== expected || envelope.subject !== sender.node) {
      throw new MesoliteError(
        'UNTRUSTED',
        `a ${envelope.kind} for ${envelope.subject} came as ${expected} for ${sender.node}`,
      );
    }
    return envelope;
  }

  /** Throws STALE for what was said before, and for what is late; an ack is never late, for it may put this node's clock right. */
  function checkNew(kind: DownKind, { revision, expiresAt }: Envelope): void {
    if (revision <= heard[kind]) {
      throw new MesoliteError('STALE', `revision ${revision} came after ${heard[kind]}: it was said before`);
    }
    if (kind !== 'ack' && expiresAt <= clock.now()) {
      throw new MesoliteError('STALE', `it expired ${Math.round(clock.now() - expiresAt)} ms ago`);
    }
    heard[kind] = revision;
  }

  async function dispatch(kind: DownKind, { revision, issuedAt, body }: Envelope): Promise<void> {
    switch (kind) {
      case 'task':
        return assign(revision, decode(assignmentSchema, body, 'assignment'));
      case 'ask':
        await files.write(fileName, encodeMessage({ ask: revision }));
        return handlers.ask(decode(askSchema, body, 'ask'));
      case 'ack':
        return handlers.ack(decode(masterAckSchema, body, 'ack'), issuedAt);
      default:
        return kind satisfies never;
    }
  }

  async function assign(revision: number, body: Assignment): Promise<void> {
    const reason = await handlers.assignment(body).catch(messageOf);
    const ack = { kind: 'assignment', subject: sender.node, revision } as const;
    if (reason === undefined) sender.send('ack', ack);
    else refusals.report({ ...ack, reason });
  }

  async function receive(kind: DownKind, wire: Uint8Array): Promise<void> {
    let revision = 0;
    try {
      const envelope = open(kind, wire);
      revision = envelope.revision;
      checkNew(kind, envelope);
      await dispatch(kind, envelope);
    } catch (error) {
      refusals.report({ kind: envelopeKindOf(kind), subject: sender.node, revision, reason: messageOf(error) });
    }
  }

  return {
    async load() {
      try {
        const stored = await files.read(fileName);
        if (stored !== undefined) heard.ask = decodeJson(storedSchema, stored.value, fileName).ask;
      } catch (error) {
        log.error('what was asked before cannot be read', { reason: messageOf(error) });
      }
    },
    async handle(topic, payload) {
      const address = parseTopic(topic);
      if (address?.kind !== 'down' || address.node !== sender.node) return;
      // the link may use the payload's memory again
      await receive(address.what, Buffer.from(payload));
    },
  };
}

function envelopeKindOf(kind: DownKind): 'assignment' | 'ask' | 'ack' {
  return kind === 'task' ? 'assignment' : kind;
}

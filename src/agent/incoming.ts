import { Buffer } from 'node:buffer';
import type * as v from 'valibot';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { decode } from '../base/shape.ts';
import { type EnvelopeVerifier, openEnvelope } from '../model/envelope.ts';
import {
  type Ask,
  type Assignment,
  askSchema,
  assignmentSchema,
  masterAckSchema,
  messageBounds,
} from '../model/message.ts';
import { type DownKind, parseTopic } from '../model/topics.ts';
import type { Sender } from './sender.ts';

/** What is done with what the master says to this node alone. */
export interface DownHandlers {
  /** Why it was not carried out as it says, for the master; undefined when it was. */
  assignment(body: Assignment): Promise<string | undefined>;
  ask(body: Ask): Promise<void>;
  ack(body: v.InferOutput<typeof masterAckSchema>): Promise<void>;
}

/** Opens what came on a topic under `down/<node>/` and hands it on; what is not signed for this node is dropped and logged. */
export interface Incoming {
  handle(topic: string, payload: Uint8Array): Promise<void>;
}

export function makeIncoming(parts: {
  readonly verify: EnvelopeVerifier;
  readonly sender: Sender;
  readonly handlers: DownHandlers;
  readonly log: Log;
}): Incoming {
  const { verify, sender, handlers, log } = parts;

  async function dispatch(kind: DownKind, wire: Uint8Array): Promise<void> {
    const envelope = openEnvelope(wire, verify, messageBounds.down);
    const expected = kind === 'task' ? 'assignment' : kind;
    if (envelope.kind !== expected || envelope.subject !== sender.node) {
      throw new MesoliteError(
        'UNTRUSTED',
        `a ${envelope.kind} for ${envelope.subject} came as ${expected} for ${sender.node}`,
      );
    }
    switch (kind) {
      case 'task':
        return assign(envelope.revision, decode(assignmentSchema, envelope.body, 'assignment'));
      case 'ask':
        return handlers.ask(decode(askSchema, envelope.body, 'ask'));
      case 'ack':
        return handlers.ack(decode(masterAckSchema, envelope.body, 'ack'));
      default:
        return kind satisfies never;
    }
  }

  async function assign(revision: number, body: Assignment): Promise<void> {
    const reason = await handlers.assignment(body).catch(messageOf);
    if (reason !== undefined) log.warn('an assignment was not carried out as it says', { reason });
    const failed = reason === undefined ? {} : { reason: reason.slice(0, 1024) };
    sender.send('ack', { kind: 'assignment', subject: sender.node, revision, ...failed });
  }

  return {
    async handle(topic, payload) {
      const address = parseTopic(topic);
      if (address?.kind !== 'down' || address.node !== sender.node) return;
      try {
        // the link may use the payload's memory again
        await dispatch(address.what, Buffer.from(payload));
      } catch (error) {
        log.warn('a message of the master was dropped', { what: address.what, reason: messageOf(error) });
      }
    },
  };
}

import type * as v from 'valibot';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { decodeUp, type upSchemas } from '../model/message.ts';
import { parseTopic } from '../model/topics.ts';

type Kind = keyof typeof upSchemas;
export type UpHandlers = {
  readonly [K in Kind]: (node: string, message: v.InferOutput<(typeof upSchemas)[K]>) => void | Promise<void>;
};

export interface Incoming {
  /** A message of any node. */
  handle(topic: string, payload: Uint8Array): Promise<void>;
  /** Messages that could not be read, by `<node>/<kind>`; at most 10,000 are told apart. */
  readonly malformed: ReadonlyMap<string, number>;
}

const maxMalformedKeys = 10_000;

/** Takes what nodes say to the part that wants it. What cannot be read is counted, logged once a node and kind, and dropped. */
export function makeIncoming(parts: {
  readonly handlers: UpHandlers;
  readonly log: Log;
  /** Is what the node says to be heard? One in quarantine may still be connected to another broker than ours. */
  readonly hears?: (node: string) => boolean;
}): Incoming {
  const { handlers, log, hears = () => true } = parts;
  const malformed = new Map<string, number>();

  function complain(node: string, kind: Kind, error: unknown): void {
    const key = `${node}/${kind}`;
    const count = malformed.get(key) ?? 0;
    if (count === 0) log.warn('a malformed message was dropped', { node, kind, reason: messageOf(error) });
    if (count > 0 || malformed.size < maxMalformedKeys) malformed.set(key, count + 1);
  }

  async function dispatch<K extends Kind>(kind: K, node: string, payload: Uint8Array): Promise<void> {
    let message: v.InferOutput<(typeof upSchemas)[K]>;
    try {
      message = decodeUp(kind, payload);
    } catch (error) {
      complain(node, kind, error);
      return;
    }
    await handlers[kind](node, message);
  }

  return {
    async handle(topic, payload) {
      const address = parseTopic(topic);
      if (address?.kind !== 'up') return;
      const { node, what } = address;
      if (!hears(node)) return;
      try {
        await dispatch(what, node, payload);
      } catch (error) {
        log.error('a message could not be handled', { node, what, reason: messageOf(error), error });
      }
    },
    malformed,
  };
}

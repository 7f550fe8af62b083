import type * as v from 'valibot';
import type { Clock } from '../base/clock.ts';
import { encodeMessage, type MessageHead, type upSchemas } from '../model/message.ts';
import { topics } from '../model/topics.ts';

type UpKind = keyof Omit<typeof upSchemas, 'death'>;
export type UpBody<K extends UpKind> = Omit<v.InferInput<(typeof upSchemas)[K]>, MessageHead>;

/** As much of `link/outbox.ts` as is needed to say something. */
export interface Lanes {
  /** One slot a topic: what was not sent yet is replaced. */
  latest(topic: string, payload: Uint8Array): void;
  /** In order, bounded. */
  queue(topic: string, payload: Uint8Array): void;
}

/** Says things to the master: each message gets this boot's number, its place in the sequence and the time. */
export interface Sender {
  readonly node: string;
  readonly boot: number;
  send<K extends UpKind>(kind: K, body: UpBody<K>): void;
}

export function makeSender(
  parts: { readonly lanes: Lanes; readonly clock: Clock },
  settings: { readonly node: string; readonly boot: number },
): Sender {
  const { node, boot } = settings;
  let seq = 0;
  return {
    node,
    boot,
    send(kind, body) {
      // of a heartbeat it counts when it comes
      const ts = kind === 'hb' ? undefined : parts.clock.now();
      const payload = encodeMessage({ v: 1, boot, seq: seq++, ts, ...body });
      const topic = topics.up(node, kind);
      // the next one makes up for a heartbeat or a report that is lost; a birth must arrive, and behind the statuses that were said before it
      if (kind === 'hb' || kind === 'shadow') parts.lanes.latest(topic, payload);
      else parts.lanes.queue(topic, payload);
    },
  };
}

import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { TopicTree } from '../model/topic-tree.ts';
import type { MessageHandler } from './link.ts';

/** Who hears what on one link; a handler that throws is logged the first time and counted each time. */
export class Handlers {
  readonly #log: Log;
  readonly #tree = new TopicTree<MessageHandler>();
  readonly #counts = new Map<string, number>();
  #errors = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  get errors(): number {
    return this.#errors;
  }

  /** Each filter once. */
  get filters(): string[] {
    return [...this.#counts.keys()];
  }

  /** The returned function takes the handler away, and calls `onLast` when its filter has no other. */
  add(filter: string, handler: MessageHandler, onLast: () => void): () => void {
    const guarded = this.guard(filter, handler);
    this.#tree.add(filter, guarded);
    this.#counts.set(filter, (this.#counts.get(filter) ?? 0) + 1);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#tree.remove(filter, guarded);
      const left = (this.#counts.get(filter) ?? 1) - 1;
      if (left > 0) {
        this.#counts.set(filter, left);
      } else {
        this.#counts.delete(filter);
        onLast();
      }
    };
  }

  deliver(topic: string, payload: Uint8Array): void {
    for (const handler of this.#tree.match(topic)) handler(topic, payload);
  }

  /** The same handler, but it never throws. */
  guard(filter: string, handler: MessageHandler): MessageHandler {
    let hasFailed = false;
    return (topic, payload) => {
      try {
        handler(topic, payload);
      } catch (error) {
        this.#errors++;
        const fields = { filter, topic, reason: messageOf(error) };
        if (hasFailed) this.#log.debug('a message could not be handled', fields);
        else this.#log.error('a message could not be handled', fields);
        hasFailed = true;
      }
    };
  }
}

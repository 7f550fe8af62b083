import { TopicTree } from '../model/topic-tree.ts';

/** What aedes hands from publisher to subscribers. */
export interface RoutedPacket {
  readonly topic: string;
  readonly payload: string | Uint8Array;
  readonly retain: boolean;
  brokerCounter: number;
}

type Deliver = (packet: RoutedPacket, done: () => void) => void;

/**
 * The table from topic filters to subscribers that aedes takes as its `mq`. Unlike mqemitter it never waits: a subscriber that
 * cannot take its message holds up neither the publisher nor the others (the bound on its buffer is the broker's business).
 */
export class Routing {
  readonly #tree = new TopicTree<Deliver>();
  #emitted = 0;
  #closed = false;

  on(filter: string, deliver: Deliver, done: () => void = ignore): void {
    this.#tree.add(filter, deliver);
    setImmediate(done);
  }

  removeListener(filter: string, deliver: Deliver, done: () => void = ignore): void {
    this.#tree.remove(filter, deliver);
    setImmediate(done);
  }

  emit(packet: RoutedPacket, done: (error?: Error | null) => void = ignore): void {
    if (!this.#closed) {
      // aedes numbers messages when it takes them and drops lower numbers as duplicates, but retained and QoS 1 messages
      // arrive here some turns later than others: the order of arrival here is the one that counts
      packet.brokerCounter = ++this.#emitted;
      for (const deliver of this.#tree.match(packet.topic)) deliver(packet, ignore);
    }
    // never at once: aedes would enter its parser again from within
    setImmediate(done);
  }

  close(done: () => void): void {
    this.#closed = true;
    setImmediate(done);
  }
}

function ignore(): void {}

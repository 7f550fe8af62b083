import { type Clock, minuteMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { confirmAfterMs, judgeLife, type Life, type Lives } from '../lifecycle/lives.ts';
import type { Birth } from '../model/message.ts';
import type { Events } from './events.ts';
import type { Fleet, FleetNode } from './fleet.ts';

export const cloneBounds = {
  /** So many connections of one node from changing addresses, each taking over from a living one, within `withinMs` are an event. */
  takeovers: 3,
  withinMs: 10 * minuteMs,
} as const;

/** A connection took over from another one of the same node. */
export interface Takeover {
  readonly node: string;
  readonly address: string;
  readonly previousAddress: string;
}

/** Finds copied cards, by the rule of `lifecycle/lives.ts`, and puts their identity in quarantine. */
export interface Clones {
  /** False when the birth is not to be believed. */
  onBirth(node: string, birth: Birth): Promise<boolean>;
  /** A node has connected to our own broker; another broker tells nothing, and the births suffice. */
  onConnected(node: string, address: string): void;
  /** Quarantines nobody by itself: a bad network looks the same. */
  onTakeover(takeover: Takeover): void;
  /** A new key is a new installation, which counts its boots anew. */
  onJoined(node: string): void;
}

export function makeClones(parts: {
  readonly fleet: Pick<Fleet, 'get' | 'quarantine'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: Pick<Events, 'record'>;
  /** Asks the node for its birth. */
  readonly ask: (node: string) => void;
  /** The node is in quarantine: its sessions end, its certificates hold no more, its endpoints go. */
  readonly onQuarantined: (node: string) => Promise<void>;
}): Clones {
  const { fleet, clock, log, events, ask, onQuarantined } = parts;
  // each by node, and only of nodes that have joined
  const livesOf = new Map<string, Lives>();
  const addressOf = new Map<string, string>();
  const takeoversOf = new Map<string, readonly number[]>();

  return {
    async onBirth(id, birth) {
      const node = fleet.get(id);
      if (node === undefined || node.state === 'quarantined') return false;
      const known = livesOf.get(id) ?? stored(node);
      const judged = judgeLife(known, lifeOf(birth, addressOf.get(id)), clock.monotonic());
      livesOf.set(id, judged.lives);
      switch (judged.verdict) {
        case 'lives':
          return true;
        case 'suspect':
          log.warn('a birth is not believed: another start of its agent was heard after it', {
            node: id,
            boot: birth.boot,
          });
          // the one that is connected then answers: a message that was only late is not said again
          clock.after(confirmAfterMs, () => ask(id));
          return false;
        case 'copied': {
          await fleet.quarantine(id, judged.reason);
          const message = `${judged.reason}; its tasks go on: mesolite token create --node ${id}, and on the node mesolite join --replace --node ${id} --join-file FILE`;
          events.record('node-quarantined', { node: id, message });
          await onQuarantined(id);
          return false;
        }
        default:
          return judged satisfies never;
      }
    },
    onConnected(node, address) {
      if (fleet.get(node) !== undefined) addressOf.set(node, address);
    },
    onTakeover({ node, address, previousAddress }) {
      if (address === previousAddress || fleet.get(node) === undefined) return;
      const now = clock.monotonic();
      const recent = [...(takeoversOf.get(node) ?? []), now].filter(at => now - at < cloneBounds.withinMs);
      takeoversOf.set(node, recent.slice(-cloneBounds.takeovers));
      if (recent.length < cloneBounds.takeovers) return;
      const between = [address, previousAddress].sort().join(' and ');
      const message = `connections from ${between} take over from each other: a bad network, or a copied card`;
      events.record('session-takeover', { node, message });
    },
    onJoined(node) {
      livesOf.delete(node);
      takeoversOf.delete(node);
    },
  };
}

/** What a master that starts knows: the newest birth, unless the node has joined anew since. */
function stored({ birth, boot }: FleetNode): Lives | undefined {
  if (birth === null || boot === 0) return undefined;
  return { current: lifeOf(birth, birth.address), past: [] };
}

/** An agent that does not name its starts is known by its boots alone. */
function lifeOf({ start, boot, seq }: Birth, address = 'an unknown address'): Life {
  return { start: start ?? `boot ${boot}`, boot, seq, address };
}

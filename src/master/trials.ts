import type { RolloutNode } from '../lifecycle/rollout.ts';
import type { DocumentAck, Heartbeat } from '../model/message.ts';
import { type CallCounts, noCalls, sumOfCalls, type Trial } from '../model/rollout.ts';

/** What nodes say of what is tried on them. In memory: whoever has a document says so again when it is published anew. */
export interface Trials {
  onAck(node: string, ack: DocumentAck): void;
  onHeartbeat(node: string, heartbeat: Heartbeat): void;
  /** Of the rollout of that name; a refusal counts when it is of the document that is published now. */
  of(
    node: string,
    rollout: string | undefined,
    revision: number,
  ): Omit<RolloutNode, 'id' | 'labels' | 'reachable' | 'rank'>;
}

interface Told extends Trial {
  readonly boot: number;
  /** Counted by starts of the agent before this one. */
  readonly carried: CallCounts;
}

export function makeTrials(): Trials {
  const acks = new Map<string, DocumentAck>();
  const told = new Map<string, Told>();
  return {
    onAck(node, ack) {
      if (ack.kind !== 'policy' || ack.withheld === true) return;
      // that something old or unreadable was refused changes nothing of what is in force
      const isOld = ack.reason !== undefined && ack.revision < (acks.get(node)?.revision ?? 0);
      if (!isOld) acks.set(node, ack);
    },
    onHeartbeat(node, { trial, boot }) {
      if (trial === undefined) return;
      const known = told.get(node);
      const isSame = known?.rollout === trial.rollout;
      const carried = !isSame ? noCalls : known.boot === boot ? known.carried : sumOfCalls(known.carried, known.since);
      // a node that has just started remembers nothing of before
      const before = isSame && trial.before.requests === 0 ? known.before : trial.before;
      told.set(node, { ...trial, before, boot, carried });
    },
    of(node, rollout, revision) {
      const ack = acks.get(node);
      const trial = told.get(node);
      const refused = ack?.revision === revision ? ack.reason : undefined;
      const isTried = rollout !== undefined && trial?.rollout === rollout;
      return {
        acknowledged: rollout !== undefined && ack?.reason === undefined && ack?.rollout === rollout,
        ...(refused !== undefined && { refused }),
        ...(isTried && { signs: signsOf(trial.before, sumOfCalls(trial.carried, trial.since)) }),
      };
    },
  };
}

function signsOf(before: CallCounts, since: CallCounts): NonNullable<RolloutNode['signs']> {
  return {
    denied: {
      before: { bad: before.denied, all: before.decisions },
      since: { bad: since.denied, all: since.decisions },
    },
    errors: { before: { bad: before.errors, all: before.requests }, since: { bad: since.errors, all: since.requests } },
  };
}

import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { newId } from '../device/dice.ts';
import { sha256Hex } from '../identity/keys.ts';
import type { TaskStatus } from '../model/task.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import { type AheadNodes, makeAheadNodes } from './ahead-nodes.ts';
import { type AssignmentOutbox, makeAssignmentOutbox } from './assignment-outbox.ts';
import type { Events } from './events.ts';
import type { Nodes } from './nodes.ts';
import type { Outgoing } from './outgoing.ts';
import { makeTaskFeed, type TaskFeed } from './task-feed.ts';
import { makeTaskIntake, type TaskIntake } from './task-intake.ts';
import { makeTaskProgress, type TaskProgress } from './task-progress.ts';

/** What nodes are told of their tasks, and what they tell of them. */
export interface Tasks {
  readonly assignments: AssignmentOutbox;
  readonly aheadNodes: AheadNodes;
  readonly intake: TaskIntake;
  readonly progress: TaskProgress;
  readonly feed: TaskFeed;
  /** Publishes services, so that endpoints close before their tasks are told to go, and then tells these nodes. */
  sendAfterServices(nodes: readonly string[]): Promise<void>;
}

export function makeTasks(parts: {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: Events;
  readonly outgoing: Outgoing;
  readonly nodes: Pick<Nodes, 'fleet'>;
  readonly publishServices: () => Promise<void>;
  /** Each report that is new, once it is written. */
  readonly onRecorded: (task: TaskRecord, status: TaskStatus) => void;
  readonly onEnded: (task: TaskRecord) => void;
  /** After each batch of a node that held news. */
  readonly onReady: () => void;
  /** The database holds of a node that was ahead of it; so many of its tasks are lost. */
  readonly onTakenOver: (lost: number) => Promise<void>;
  readonly inBackground: (what: string, work: Promise<unknown>) => void;
}): Tasks {
  const { store, clock, log, events, outgoing, publishServices, inBackground } = parts;
  const { fleet } = parts.nodes;
  const assignments = makeAssignmentOutbox({
    assignments: store.assignments,
    tasks: store.tasks,
    outgoing,
    sha256: sha256Hex,
    log,
    mayTell: node => aheadNodes.mayTell(node),
    onWithheld: (node, times) => {
      const message = `assignment: it was sent ${times} times, and the node does not have it`;
      events.record('document-withheld', { node, message });
    },
  });
  const aheadNodes = makeAheadNodes({
    store,
    fleet,
    events,
    onTakenOver: async (node, birth, lost) => {
      await intake.onLost(node, lost, 'not on its node any more when the master was restored');
      await assignments.onBirth(node, birth);
      await publishServices();
      await parts.onTakenOver(lost.length);
    },
  });
  const progress = makeTaskProgress({ clock });
  const feed = makeTaskFeed({ clock, log });
  store.tasks.watch(feed.note);
  progress.watch(feed.note);
  const intake = makeTaskIntake({
    store,
    outgoing,
    clock,
    log,
    newId,
    onRecorded: parts.onRecorded,
    onEnded: task => {
      progress.onEnded(task);
      parts.onEnded(task);
    },
    onChanged: (node, { ended, serving }) => {
      parts.onReady();
      if (serving) inBackground('publishing services', publishServices());
      if (ended) inBackground('sending an assignment', assignments.send([node]));
    },
  });
  return {
    ...{ assignments, aheadNodes, intake, progress, feed },
    sendAfterServices: nodes => publishServices().then(() => assignments.send(nodes)),
  };
}

import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import { assignmentHash } from '../lifecycle/spec-hash.ts';
import type { Sha256 } from '../model/audit-chain.ts';
import type { Birth, DocumentAck, Heartbeat } from '../model/message.ts';
import { liveStates } from '../model/task.ts';
import type { Assignments, NodeAssignment } from '../store/assignments.ts';
import type { Tasks } from '../store/tasks.ts';
import type { Outgoing } from './outgoing.ts';

/** Tells each node which tasks it is to have, as the store has it: a step where it is known what the node has, all of it otherwise. */
export interface AssignmentOutbox {
  /** The assignments of these nodes have changed. */
  send(nodes: Iterable<string>): Promise<void>;
  /** What the node says it holds; it gets all of its assignment unless it is just that. */
  onBirth(node: string, birth: Birth): Promise<void>;
  onHeartbeat(node: string, heartbeat: Heartbeat): Promise<void>;
  /** A step that the node could not take is answered with all of it; where that was refused, saying it again is of no use. */
  onAck(node: string, ack: DocumentAck): Promise<void>;
}

/** What a node has, as far as it was sent or said. */
interface Known {
  readonly epoch: number;
  readonly generation: number;
  readonly hash: string;
  readonly tasks: ReadonlySet<string>;
}

interface Peer {
  readonly gate: Gate;
  known: Known | undefined;
  /** What it said last that it holds. */
  held: string | undefined;
  /** The last that was sent was all of it. */
  sentAll: boolean;
  /** Heartbeats in a row that told of another set: the first may have crossed a step on its way. */
  mismatches: number;
  /** How often all of it was said in a row without the node having it. */
  vain: number;
}

/** A link that comes and goes loses one or two. */
const vainBeforeTold = 3;

export function makeAssignmentOutbox(parts: {
  readonly assignments: Assignments;
  readonly tasks: Pick<Tasks, 'list'>;
  readonly outgoing: Pick<Outgoing, 'assignment' | 'ask'>;
  readonly sha256: Sha256;
  readonly log: Log;
  /** Has it told what it holds, and is that for us to change? Else it is told later, when it has introduced itself. */
  readonly mayTell: (node: string) => boolean;
  /** The node does not get what it is sent, though it is heard: something between keeps it back. */
  readonly onWithheld: (node: string, times: number) => void;
}): AssignmentOutbox {
  const { assignments, tasks, outgoing, sha256, log, mayTell, onWithheld } = parts;
  const peers = new Map<string, Peer>();

  function peerOf(node: string): Peer {
    const peer = peers.get(node) ?? {
      gate: new Gate(),
      known: undefined,
      held: undefined,
      sentAll: false,
      mismatches: 0,
      vain: 0,
    };
    peers.set(node, peer);
    return peer;
  }

  async function send(node: string, peer: Peer, wanted: NodeAssignment): Promise<void> {
    const { epoch, generation } = wanted;
    const base = peer.known?.epoch === epoch ? peer.known : undefined;
    if (base?.generation === generation) return;
    const ids = new Set(wanted.tasks.map(task => task.id));
    peer.known = { epoch, generation, hash: assignmentHash(wanted.tasks, sha256), tasks: ids };
    peer.sentAll = base === undefined;
    await outgoing.assignment(node, {
      epoch,
      generation,
      full: base === undefined,
      base: base?.generation ?? 0,
      put: wanted.tasks.filter(task => !base?.tasks.has(task.id)),
      remove: base === undefined ? [] : [...base.tasks].filter(id => !ids.has(id)),
    });
    if (base !== undefined && generation > base.generation + 1) await askForUnseen(node, base);
  }

  /** A task that was placed and stopped between two steps never reached its node, which will not report its end: its birth tells. */
  async function askForUnseen(node: string, base: Known): Promise<void> {
    const present = await tasks.list({ node, states: liveStates });
    const unseen = present.some(task => task.stopping && !base.tasks.has(task.id));
    if (unseen) await outgoing.ask(node, { what: 'birth' });
  }

  /** Does under the node's gate what needs its assignment; a node that is gone has none. */
  async function withAssignment(
    node: string,
    task: (peer: Peer, wanted: NodeAssignment) => Promise<void>,
  ): Promise<void> {
    if (!mayTell(node)) return;
    const peer = peerOf(node);
    return peer.gate.run(async () => {
      const wanted = await assignments.of(node);
      if (wanted !== undefined) await task(peer, wanted);
    });
  }

  async function sendAll(node: string, peer: Peer, wanted: NodeAssignment): Promise<void> {
    peer.known = undefined;
    peer.mismatches = 0;
    log.info('a node gets its whole assignment', { node, tasks: wanted.tasks.length });
    await send(node, peer, wanted);
  }

  return {
    async send(nodes) {
      for (const node of nodes) await withAssignment(node, (peer, wanted) => send(node, peer, wanted));
    },
    onBirth: (node, { held, epoch, generation }) =>
      withAssignment(node, async (peer, wanted) => {
        peer.held = held;
        if (held !== assignmentHash(wanted.tasks, sha256)) return sendAll(node, peer, wanted);
        peer.known = { epoch, generation, hash: held, tasks: new Set(wanted.tasks.map(task => task.id)) };
        peer.mismatches = 0;
        peer.vain = 0;
      }),
    async onHeartbeat(node, { held }) {
      const peer = peerOf(node);
      peer.held = held ?? peer.held;
      if (peer.known?.hash === peer.held) {
        peer.mismatches = 0;
        peer.vain = 0;
      } else if (++peer.mismatches > 1) {
        if (++peer.vain > vainBeforeTold) onWithheld(node, peer.vain - 1);
        await withAssignment(node, (peer, wanted) => sendAll(node, peer, wanted));
      }
    },
    async onAck(node, { kind, reason }) {
      if (kind !== 'assignment') return;
      peerOf(node).vain = 0;
      if (reason === undefined) return;
      log.warn('a node did not carry out its assignment', { node, reason });
      await withAssignment(node, async (peer, wanted) => {
        if (!peer.sentAll) await sendAll(node, peer, wanted);
      });
    },
  };
}

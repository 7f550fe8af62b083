import type { Birth } from '../model/message.ts';
import type { AheadNodes } from './ahead-nodes.ts';
import type { AssignmentOutbox } from './assignment-outbox.ts';
import type { AuditIntake } from './audit-intake.ts';
import type { Certificates } from './certificates.ts';
import type { Clones } from './clones.ts';
import type { Fleet } from './fleet.ts';
import type { UpHandlers } from './incoming.ts';
import type { Logs } from './logs.ts';
import type { NodeEvents } from './node-events.ts';
import type { NodeWeights } from './node-weights.ts';
import type { Outgoing } from './outgoing.ts';
import type { OutputStreams } from './output-streams.ts';
import type { Policies } from './policies.ts';
import type { Rollouts } from './rollouts.ts';
import type { Shadows } from './shadows.ts';
import type { TaskIntake } from './task-intake.ts';
import type { TaskProgress } from './task-progress.ts';
import type { Trust } from './trust.ts';

/** Who hears what of what nodes say, and in which order. */
export function makeNodeWords(parts: {
  readonly fleet: Fleet;
  readonly clones: Clones;
  readonly nodeEvents: NodeEvents;
  readonly weights: NodeWeights;
  readonly intake: TaskIntake;
  readonly assignments: AssignmentOutbox;
  readonly aheadNodes: AheadNodes;
  readonly rollouts: Rollouts;
  readonly policies: Policies;
  readonly trust: Trust;
  readonly auditIntake: AuditIntake;
  readonly shadows: Shadows;
  readonly progress: TaskProgress;
  readonly certificates: Certificates;
  readonly outputs: OutputStreams;
  readonly logs: Logs;
  readonly outgoing: Outgoing;
  readonly publishServices: () => Promise<void>;
  /** Leaves the key for secrets out where it is not the node's own. */
  readonly withOwnKey: (node: string, birth: Birth) => Birth;
}): UpHandlers {
  const { fleet, clones, nodeEvents, weights, intake, assignments, rollouts, policies, trust, outgoing } = parts;
  const { auditIntake, shadows, progress, certificates, outputs, logs, publishServices, withOwnKey, aheadNodes } =
    parts;
  /** The envelope carries the time. */
  const tellTime = async (node: string, { nonce }: { readonly nonce?: string | undefined }): Promise<void> => {
    if (nonce !== undefined) await outgoing.ack(node, { nonce });
  };
  const onUsage = (id: string): void => {
    const node = fleet.get(id);
    if (node !== undefined) weights.onUsage(node);
  };

  return {
    async birth(node, said) {
      const birth = withOwnKey(node, said);
      await tellTime(node, birth);
      if (fleet.get(node) === undefined) return nodeEvents.onUnknown(node);
      const { birth: before = null, spent } = fleet.get(node) ?? {};
      if (!(await clones.onBirth(node, birth)) || !(await fleet.onBirth(node, birth))) return;
      nodeEvents.onBirth(node, birth, before);
      nodeEvents.onSpent(node, birth.spent, spent);
      onUsage(node);
      progress.onBirth(node, birth.tasks);
      await intake.onBirth(node, birth.tasks);
      if (await aheadNodes.onBirth(node, birth)) await assignments.onBirth(node, birth);
      await publishServices();
    },
    async hb(node, heartbeat) {
      await tellTime(node, heartbeat);
      const before = fleet.get(node)?.spent;
      if (fleet.onHeartbeat(node, heartbeat)) {
        nodeEvents.onSpent(node, heartbeat.spent, before);
        rollouts.onHeartbeat(node, heartbeat);
        progress.onHeartbeat(node, heartbeat.progress ?? []);
        onUsage(node);
        if (aheadNodes.mayTell(node)) await assignments.onHeartbeat(node, heartbeat);
        else if (!fleet.get(node)?.ahead) await outgoing.ask(node, { what: 'birth' });
      } else await outgoing.ask(node, { what: 'birth' });
    },
    async task(node, { statuses, lost }) {
      const [first] = statuses;
      if (lost !== undefined && first !== undefined) nodeEvents.onLost(node, lost, first);
      await intake.onStatuses(node, statuses);
    },
    async ack(node, ack) {
      policies.onAck(node, ack);
      rollouts.onAck(node, ack);
      nodeEvents.onAck(node, ack);
      await assignments.onAck(node, ack);
      await trust.onAck(node, ack);
    },
    audit: (node, { batch }) => auditIntake.onBatch(node, batch),
    shadow: shadows.onReport,
    csr: (node, request) => certificates.onRequest(node, request),
    log: (node, chunk) => void (outputs.onPiece(node, chunk) || logs.onChunk(node, chunk)),
    death: (node, death) => fleet.onDeath(node, death),
  };
}

import { isOlder } from '../lifecycle/assignment.ts';
import type { NodeClock } from './clock.ts';
import type { Heartbeat } from './heartbeat.ts';
import type { DownHandlers } from './incoming.ts';
import type { MasterLink } from './master-link.ts';
import type { Mesh } from './mesh.ts';
import type { Records } from './records.ts';
import type { Tasks } from './tasks.ts';

/** What is done with what the master says to this node alone. */
export interface MasterWords extends DownHandlers {
  /** Settles when the master has answered to what this start of the agent has said. */
  readonly reportedIn: Promise<void>;
}

export function makeMasterWords(
  parts: {
    readonly clock: NodeClock;
    readonly master: Pick<MasterLink, 'recheck'>;
    readonly mesh: Pick<Mesh, 'certificates'>;
    readonly tasks: Pick<Tasks, 'supervisor' | 'reports' | 'output'>;
    readonly records: Pick<Records, 'audit'>;
    readonly heartbeat: Heartbeat;
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
  },
  signal: AbortSignal,
): MasterWords {
  const { clock, master, heartbeat, inBackground } = parts;
  const { certificates } = parts.mesh;
  const { supervisor, reports, output } = parts.tasks;
  const { audit } = parts.records;
  let hasReported = () => {};
  const reportedIn = new Promise<void>(resolve => {
    hasReported = resolve;
  });

  function onTime(nonce: string, time: number): void {
    if (nonce === clock.question) hasReported();
    clock.answer(nonce, time);
    master.recheck();
    certificates.check();
  }

  return {
    reportedIn,
    assignment: async body =>
      isOlder(body, supervisor.held) ? 'it is older than what is held' : supervisor.assign(body),
    async ask(body) {
      if (body.what === 'birth') await heartbeat.birth();
      else if (body.what === 'rotate')
        inBackground('renewing certificates', certificates.renewAll(body.withinMs, signal));
      else await output.answer(body);
    },
    async ack({ statuses, audit: stored, certificate, nonce, output: taken }, issuedAt) {
      if (nonce !== undefined) onTime(nonce, issuedAt);
      output.streams.acknowledge(taken);
      reports.acknowledge(statuses);
      if (stored !== undefined) audit.acknowledge(stored);
      if (certificate !== undefined) await certificates.onAnswer(certificate);
    },
  };
}

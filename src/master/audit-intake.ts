import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import type { AuditBatch } from '../model/audit-chain.ts';
import type { Audit } from '../store/audit.ts';
import { masterTimes } from './config.ts';
import type { Outgoing } from './outgoing.ts';

export const auditKeep = { records: 1_000_000 } as const;

/** Stores the nodes' access records and acknowledges them once they are on disk. */
export interface AuditIntake {
  onBatch(node: string, batch: AuditBatch): Promise<void>;
  trim(): Promise<void>;
}

export function makeAuditIntake(parts: {
  readonly audit: Audit;
  readonly outgoing: Pick<Outgoing, 'ack'>;
  readonly clock: Clock;
  readonly log: Log;
}): AuditIntake {
  const { audit, outgoing, clock, log } = parts;
  const gate = new Gate();
  return {
    async onBatch(node, batch) {
      const { outcome, last } = await gate.run(() => audit.append(node, batch));
      if (outcome === 'broken') throw new MesoliteError('UNTRUSTED', `the audit chain of ${node} does not hold`);
      if (outcome === 'gap') log.warn('the audit of a node has a gap', { node, before: batch.first });
      await outgoing.ack(node, { audit: last });
    },
    async trim() {
      await audit.trim({ keep: auditKeep.records, before: clock.now() - masterTimes.auditKeepMs });
    },
  };
}

import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import type { Authority } from '../identity/authority.ts';
import { certificateOf } from '../identity/signer.ts';
import type { StatementSigner } from '../model/audit-anchor.ts';
import { type AuditBatch, printAuditNumber } from '../model/audit-chain.ts';
import type { Audit } from '../store/audit.ts';
import { type AuditKeeping, defaultAuditKeeping } from './config.ts';
import type { Outgoing } from './outgoing.ts';

/** Stores the nodes' access records, signed, and acknowledges them once they are on disk. */
export interface AuditIntake {
  onBatch(node: string, batch: AuditBatch): Promise<void>;
  /** Forgets what is older or more than is kept, a little at a time, until that is done or `signal` aborts. */
  prune(signal: AbortSignal): Promise<void>;
}

export function makeAuditIntake(
  parts: {
    readonly audit: Audit;
    readonly authority: Pick<Authority, 'signer' | 'signers'>;
    readonly outgoing: Pick<Outgoing, 'ack'>;
    readonly clock: Clock;
    readonly log: Log;
  },
  settings: Partial<AuditKeeping> = {},
): AuditIntake {
  const { audit, authority, outgoing, clock, log } = parts;
  const keep = { ...defaultAuditKeeping, ...settings };
  const gate = new Gate();
  let known: StatementSigner | undefined;

  /** Signers follow each other. */
  function signer(): StatementSigner {
    const { signer, signers } = authority;
    if (known?.keyId !== signer.keyId) {
      known = { keyId: signer.keyId, sign: signer.sign, certificate: certificateOf(signer, signers) };
    }
    return known;
  }

  return {
    async onBatch(node, batch) {
      const { outcome, last } = await gate.run(() => audit.append(node, batch, clock.now(), signer()));
      if (outcome === 'broken') throw new MesoliteError('UNTRUSTED', `the audit chain of ${node} does not hold`);
      if (outcome === 'gap') log.warn('the audit of a node has a gap', { node, before: printAuditNumber(batch.first) });
      await outgoing.ack(node, { audit: last });
    },
    async prune(signal) {
      const bounds = () => ({ since: clock.now() - keep.ms, bytes: keep.bytes });
      // each piece waits its turn among the batches that come in
      while (!signal.aborted && (await gate.run(() => audit.prune(bounds(), clock.now(), signer()))) > 0);
    },
  };
}

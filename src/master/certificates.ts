import { Buffer } from 'node:buffer';
import { type Clock, hourMs } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Authority, Issued } from '../identity/authority.ts';
import { parseSpiffeId, printSpiffeId } from '../model/identity.ts';
import type { CertificateRequest, MasterAck } from '../model/message.ts';
import type { CertificateBook } from './certificate-book.ts';
import type { Outgoing } from './outgoing.ts';
import type { RunsWorkload } from './workload-rights.ts';

/** Each certificate is a row; a node that runs a hundred workloads asks for them once in sixteen hours. */
export const perHour = 1_000;

type Answer = Omit<NonNullable<MasterAck['certificate']>, 'id'>;

/** Answers nodes that ask for certificates: renewals of their own, and those of workloads that they run. */
export interface Certificates {
  onRequest(node: string, request: CertificateRequest): Promise<void>;
}

export function makeCertificates(parts: {
  readonly authority: Authority;
  readonly runs: RunsWorkload;
  readonly book: Pick<CertificateBook, 'recordFor'>;
  readonly outgoing: Pick<Outgoing, 'ack'>;
  readonly clock: Clock;
  readonly log: Log;
}): Certificates {
  const { authority, runs, book, outgoing, clock, log } = parts;
  /** What each node has asked for in the hour that began `since`, on the monotonic clock. */
  const asked = new Map<string, { since: number; count: number }>();

  function checkRate(node: string): void {
    const now = clock.monotonic();
    const known = asked.get(node);
    const hour = known === undefined || now - known.since >= hourMs ? { since: now, count: 0 } : known;
    asked.set(node, hour);
    hour.count++;
    if (hour.count > perHour) {
      throw new MesoliteError('QUEUE_FULL', `node ${node} has asked for ${perHour} certificates within an hour`);
    }
  }

  /** Least privilege: a node gets its own identity, and those of workloads that it has a task of. */
  async function issue(node: string, { spiffeId, csr }: CertificateRequest): Promise<Issued> {
    const id = parseSpiffeId(spiffeId);
    const der = Buffer.from(csr, 'base64');
    if (id?.kind === 'node' && id.node === node) return authority.issueNode(der, node, clock.now());
    if (id?.kind === 'workload' && (await runs(node, id))) {
      return authority.issueWorkload(der, printSpiffeId(id), clock.now());
    }
    throw new MesoliteError('FORBIDDEN', `node ${node} has no task of ${spiffeId}`);
  }

  return {
    async onRequest(node, request) {
      const { id, nonce } = request;
      const answer = (certificate: Answer) => outgoing.ack(node, { certificate: { id, ...certificate }, nonce });
      try {
        checkRate(node);
        const { chainPem, serial, notAfter } = await issue(node, request);
        // what is not in the book could not be revoked
        await book.recordFor(node, chainPem);
        log.info('a certificate was issued', { node, spiffeId: request.spiffeId, serial, notAfter });
        await answer({ chain: chainPem });
      } catch (error) {
        log.warn('a certificate was refused', { node, spiffeId: request.spiffeId, reason: messageOf(error) });
        await answer({ error: messageOf(error).slice(0, 512) });
      }
    },
  };
}

import type { AccessRecord } from '../model/access.ts';
import { type Job, labelsOf } from '../model/document.ts';
import type { Selectable } from '../model/selector.ts';
import type { RecordedCall } from '../policy/replay.ts';
import type { ApiClient } from './api-client.ts';
import { auditEntries } from './audit-pages.ts';

/** So many records are looked at, the newest ones. */
export const maxReplayed = 100_000;

/** Calls that are alike, as policies see them. */
export interface CallGroup {
  readonly call: RecordedCall;
  readonly source: string;
  readonly destination: string;
  /** Absent when the job of the task is not known any more. */
  readonly called: Selectable | undefined;
  count: number;
}

export interface RecordedCalls {
  readonly groups: readonly CallGroup[];
  readonly count: number;
  /** There are older records in that time, which were not looked at. */
  readonly isCut: boolean;
}

/** The calls to workloads that the master has records of since then, page by page, the like ones together. */
export async function fetchCalls(api: ApiClient, since: number, jobs: readonly Job[]): Promise<RecordedCalls> {
  const groups = new Map<string, CallGroup>();
  const byName = new Map(jobs.map(job => [`${job.metadata.name}.${job.metadata.namespace}`, job]));
  let count = 0;
  let seen = 0;
  for await (const entry of auditEntries(api, { since })) {
    if (seen++ === maxReplayed) return { groups: [...groups.values()], count, isCut: true };
    if (entry.kind !== 'record' || entry.record.direction !== 'inbound' || !wasDecided(entry.record)) continue;
    add(groups, entry.record, byName);
    count++;
  }
  return { groups: [...groups.values()], count, isCut: false };
}

/** Bytes that were no request, and calls to nobody, met no policy. */
function wasDecided({ rule }: AccessRecord): boolean {
  return rule !== 'not-understood' && rule !== 'no-workload' && rule !== 'bad-path';
}

function add(groups: Map<string, CallGroup>, record: AccessRecord, jobs: ReadonlyMap<string, Job>): void {
  const { source, destination, sourceIp, method, host, path, task } = record;
  const jobName = task.split('.').slice(0, 2).join('.');
  const key = JSON.stringify([source, destination, sourceIp, method, host, path, jobName]);
  const known = groups.get(key);
  if (known !== undefined) {
    known.count++;
    return;
  }
  const connection = { principal: source === '-' ? undefined : source, sourceIp };
  // a TCP connection has no method
  const call: RecordedCall =
    method === '-' ? { protocol: 'tcp', ...connection } : { protocol: 'http', ...connection, method, host, path };
  const job = jobs.get(jobName);
  const called = job && { namespace: job.metadata.namespace, labels: labelsOf(job) };
  groups.set(key, { call, source: source === '-' ? sourceIp : source, destination, called, count: 1 });
}

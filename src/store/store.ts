import { type Assignments, makeAssignments } from './assignments.ts';
import { type Audit, makeAudit } from './audit.ts';
import { type Certificates, makeCertificates } from './certificates.ts';
import { type Documents, makeDocuments } from './documents.ts';
import { type Estimates, makeEstimates } from './estimates.ts';
import { type Events, makeEvents } from './events.ts';
import { type Frameworks, makeFrameworks } from './frameworks.ts';
import { type JobUpdates, makeJobUpdates } from './job-updates.ts';
import { type JoinRequests, makeJoinRequests } from './join-requests.ts';
import { type JoinTokens, makeJoinTokens } from './join-tokens.ts';
import { openSqlite } from './kysely.ts';
import { type Meta, makeMeta } from './meta.ts';
import { makeNodes, type Nodes } from './nodes.ts';
import { makeOperatorTokens, type OperatorTokens } from './operator-tokens.ts';
import { makeRollouts, type Rollouts } from './rollouts.ts';
import { makeSecrets, type Secrets } from './secrets.ts';
import { makeTasks, type TaskListener, type Tasks } from './tasks.ts';

/**
 * All that a master must not forget. Each method is one transaction: when its promise resolves, what it wrote survives
 * kill -9 and a power cut; when it rejects, nothing of it was written. Times are arguments, in milliseconds since 1970.
 */
export interface Store {
  readonly meta: Meta;
  readonly operatorTokens: OperatorTokens;
  readonly joinTokens: JoinTokens;
  readonly joinRequests: JoinRequests;
  readonly nodes: Nodes;
  readonly documents: Documents;
  readonly tasks: Tasks;
  readonly estimates: Estimates;
  readonly assignments: Assignments;
  readonly audit: Audit;
  readonly events: Events;
  readonly certificates: Certificates;
  readonly frameworks: Frameworks;
  readonly rollouts: Rollouts;
  readonly secrets: Secrets;
  readonly jobUpdates: JobUpdates;
  close(): Promise<void>;
}

/** Opens (or makes) the SQLite file at `path`, whose directory exists; throws START_FAILED with what to do. */
export async function openStore({ path }: { readonly path: string }): Promise<Store> {
  const db = await openSqlite(path);
  const listeners: TaskListener[] = [];
  return {
    meta: makeMeta(db),
    operatorTokens: makeOperatorTokens(db),
    joinTokens: makeJoinTokens(db),
    joinRequests: makeJoinRequests(db),
    nodes: makeNodes(db),
    documents: makeDocuments(db),
    tasks: makeTasks(db, listeners),
    estimates: makeEstimates(db),
    assignments: makeAssignments(db, listeners),
    audit: makeAudit(db),
    events: makeEvents(db),
    certificates: makeCertificates(db),
    frameworks: makeFrameworks(db),
    rollouts: makeRollouts(db),
    secrets: makeSecrets(db),
    jobUpdates: makeJobUpdates(db),
    close: () => db.destroy(),
  };
}

import * as v from 'valibot';
import { accessRecordSchema } from './access.ts';
import { aheadSchema } from './ahead.ts';
import { drainSchema } from './drain.ts';
import { fleetEventSchema } from './event.ts';
import { nameSchema } from './ids.ts';
import { jobTypes } from './job.ts';
import { jobUpdateViewSchema } from './job-update.ts';
import { pathNormalizations } from './policy.ts';
import { inventorySchema, usageSchema } from './profile.ts';
import { resourcesSchema } from './resources.ts';
import { roleNameSchema } from './role.ts';
import { rolloutSpecSchema } from './rollout.ts';
import { serviceDocumentSchema } from './service.ts';
import { spentSchema } from './spent.ts';
import { progressSchema, taskStates, taskStatusSchema } from './task.ts';

// What the master's HTTP API takes and gives under /v1: shared by the API, the command line and the console.

/** POST /v1/documents: all are checked before one is stored; nothing is stored when one is refused. */
export const applyRequestSchema = v.strictObject({
  documents: v.pipe(v.array(v.unknown()), v.minLength(1, 'expected at least one document'), v.maxLength(1000)),
  /** How policies go to the nodes; as a Rollout document says when absent, and at once where there is none. */
  rollout: v.optional(rolloutSpecSchema),
  /** To all nodes, whatever Rollout there is. */
  atOnce: v.optional(v.boolean(), false),
});

export const applyResultSchema = v.object({
  results: v.array(
    v.object({
      kind: v.string(),
      namespace: v.string(),
      name: v.string(),
      result: v.picklist(['created', 'configured', 'unchanged']),
      warnings: v.array(v.string()),
    }),
  ),
  /** The rollout by which changed policies go to the nodes; absent: they are on their way to all. */
  rollout: v.optional(v.string()),
});

/** GET /v1/documents?kind= and DELETE /v1/documents/:kind/:namespace/:name */
export const documentListSchema = v.object({ documents: v.array(v.unknown()) });

/** DELETE: `rollout` is the one by which a policy goes, absent when it is gone at once. */
export const removeResultSchema = v.object({ removed: v.boolean(), rollout: v.optional(v.string()) });

export const nodeViewSchema = v.object({
  node: v.string(),
  /**
   * `ready`, or `unreachable` since its lease ran out: its tasks may well be running. `quarantined` for the reason in `quarantine`: there
   * may be two of it, and neither is believed until one joins with a new key; their tasks go on.
   */
  state: v.picklist(['ready', 'unreachable', 'quarantined']),
  quarantine: v.optional(v.string()),
  /** When it takes no tasks, if an operator said so. */
  drain: v.optional(drainSchema),
  /** What it holds of which this master knows nothing; nothing is changed there until it is taken over. */
  ahead: v.optional(aheadSchema),
  version: v.string(),
  /** The sha256 of the bundle that it runs; absent: the installed one. */
  bundle: v.optional(v.string()),
  profile: v.string(),
  /** Work that takes a second at speed 1 takes 1/speed there; absent where it is not known. */
  speed: v.optional(v.number()),
  /** How many artifacts it has, and at which rate it fetched the last ones. */
  artifacts: v.optional(v.object({ count: v.number(), bytesPerSecond: v.optional(v.number()) })),
  /** What its agent has written in a day, as far as it has told. */
  spent: v.optional(spentSchema),
  address: v.string(),
  meshPort: v.number(),
  attributes: v.record(v.string(), v.string()),
  inventory: inventorySchema,
  total: resourcesSchema,
  free: resourcesSchema,
  usage: usageSchema,
  /** What the kernel holds its tasks to, and what is amiss with it. */
  controllers: v.optional(v.array(v.string())),
  warnings: v.optional(v.array(v.string())),
  boot: v.number(),
  /** Milliseconds since 1970 by the master's clock. */
  lastSeen: v.number(),
  joinedAt: v.number(),
  tasks: v.number(),
  /** Of these, the ones of system jobs, which no drain waits for; a master of before does not say. */
  systemTasks: v.optional(v.number()),
});

export const taskViewSchema = v.object({
  id: v.string(),
  job: v.string(),
  namespace: v.string(),
  type: v.picklist(['service', 'batch']),
  /** The batch task's own name, or the instance's number. */
  label: v.string(),
  priority: v.number(),
  node: v.nullable(v.string()),
  state: v.picklist(taskStates),
  ready: v.boolean(),
  restarts: v.number(),
  reason: v.nullable(v.string()),
  message: v.nullable(v.string()),
  exitCode: v.nullable(v.number()),
  ports: v.array(v.object({ name: v.string(), number: v.number() })),
  resources: resourcesSchema,
  submittedAt: v.number(),
  startedAt: v.nullable(v.number()),
  endedAt: v.nullable(v.number()),
  /** When it is expected to end, by what its like took and how far it is. */
  expectedEndAt: v.nullable(v.number()),
  /** What its node says nothing of, as that it is silent. */
  note: v.optional(v.string()),
  /** Of a live task that tells: how far it is, and when that was heard. */
  progress: v.nullable(v.object({ ...progressSchema.entries, at: v.number() })),
  /** While it waits: per node, why not there. */
  waiting: v.array(v.object({ node: v.string(), why: v.string() })),
});

/** A task and where it would go, or why it has no place. */
const plannedTaskSchema = v.object({
  job: v.string(),
  namespace: v.string(),
  label: v.string(),
  node: v.nullable(v.string()),
  /** Milliseconds since 1970; null where it would not run as far as can be foreseen, or does not end. */
  startAt: v.nullable(v.number()),
  endAt: v.nullable(v.number()),
  why: v.nullable(v.string()),
});

/** POST /v1/nodes/:node/drain: from now on, or in a window to come; times in milliseconds since 1970. */
export const drainRequestSchema = v.strictObject({
  from: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  until: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  /** What is still there after so long is ended; when left out nothing is that has no place elsewhere, and batch tasks come to their end. */
  deadlineMs: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
});

/** `tasks` are those that it has. */
export const drainAnswerSchema = v.object({ node: v.string(), drain: v.nullable(drainSchema), tasks: v.number() });

/** POST /v1/plan: where each task of these jobs would go if they were applied now; nothing is stored. */
export const planSchema = v.object({ now: v.number(), tasks: v.array(plannedTaskSchema) });

/** GET /v1/tasks/:id/explain: why a task has no node yet, and for each node why not that one. */
export const taskExplanationSchema = v.object({
  task: v.string(),
  state: v.picklist(taskStates),
  node: v.nullable(v.string()),
  why: v.nullable(v.string()),
  expected: v.nullable(v.object({ node: v.string(), startAt: v.number(), endAt: v.nullable(v.number()) })),
  nodes: v.array(v.object({ node: v.string(), why: v.string() })),
});

/** GET /v1/tasks/:id: a task and all that was reported on it, oldest first. */
export const taskDetailSchema = v.object({
  task: taskViewSchema,
  history: v.array(taskStatusSchema),
});

const amounts = v.record(v.string(), v.number());

/** GET /v1/roles: amounts in milli-units; `share` is the largest that it holds of any resource, by its weight: the smallest is served first. */
export const roleViewSchema = v.object({
  role: v.string(),
  weight: v.number(),
  share: v.number(),
  held: amounts,
  guarantees: amounts,
  limits: amounts,
  /** Tasks that wait for a place. */
  waiting: v.number(),
  problem: v.optional(v.string()),
});

/** A framework of Mesos' API; `away` is one that may yet come back, until its failover timeout. */
export const frameworkViewSchema = v.object({
  id: v.string(),
  name: v.string(),
  principal: v.string(),
  state: v.picklist(['connected', 'away', 'removed']),
  roles: v.array(v.string()),
  /** Those that have not ended. */
  tasks: v.number(),
  offers: v.number(),
  registeredAt: v.number(),
  removedAt: v.nullable(v.number()),
});

/** POST /v1/framework-credentials: what a framework of Mesos' API shows, and the roles that it may have offers for; all when absent. */
export const createCredentialRequestSchema = v.strictObject({
  name: nameSchema,
  roles: v.optional(v.pipe(v.array(roleNameSchema), v.minLength(1), v.maxLength(64))),
});

/** The secret is shown once, stored hashed. */
export const createCredentialResultSchema = v.object({ name: v.string(), secret: v.string() });

export const credentialViewSchema = v.object({
  name: v.string(),
  /** Null for all. */
  roles: v.nullable(v.array(v.string())),
  createdAt: v.number(),
});

export const jobViewSchema = v.object({
  name: v.string(),
  namespace: v.string(),
  type: v.picklist(jobTypes),
  priority: v.number(),
  /** Tasks that were wanted, and where they are. */
  wanted: v.number(),
  pending: v.number(),
  running: v.number(),
  ready: v.number(),
  finished: v.number(),
  failed: v.number(),
  /** When it was applied first. */
  createdAt: v.number(),
  /** For a batch: when the last task is expected to end, and how much of it is done, in percent. */
  expectedEndAt: v.nullable(v.number()),
  progress: v.nullable(v.number()),
  /** Of a periodic job: when its newest run was due, and the next will be. */
  lastRunAt: v.nullable(v.number()),
  nextRunAt: v.nullable(v.number()),
  /** The newest change of a job with `update`. */
  update: v.nullable(jobUpdateViewSchema),
});

export const policyViewSchema = v.object({
  kind: v.string(),
  namespace: v.string(),
  name: v.string(),
  action: v.string(),
  /** The revision of the signed document that first held it. */
  revision: v.number(),
  /** Nodes that enforce that revision or a newer one, of how many. */
  enforcedOn: v.number(),
  nodes: v.number(),
  /** What one that decides nothing (in dry run, AUDIT, a RateLimit that is not enforced) would have done with so many calls. */
  shadow: v.optional(v.object({ calls: v.number(), allowed: v.number(), denied: v.number(), audited: v.number() })),
  /** What it lacks, as the keys of an issuer. */
  problem: v.optional(v.string()),
  /** What a rollout makes of it, and the nodes that enforce that. */
  rollout: v.optional(
    v.object({ name: v.string(), change: v.picklist(['put', 'remove']), nodes: v.array(v.string()) }),
  ),
  /** Nodes that refused, each with its reason. */
  refusals: v.array(v.object({ node: v.string(), reason: v.string() })),
});

/** GET /v1/mesh: what all policies are read in, as the master was started. */
export const meshSchema = v.object({
  trustDomain: v.string(),
  rootNamespace: v.string(),
  meshDefault: v.picklist(['allow', 'deny']),
  pathNormalization: v.optional(v.picklist(pathNormalizations)),
});

/** A decided request as its node recorded it, or a gap: as the node said it, or as the master noted it before record `number + 1`. */
export const auditEntrySchema = v.variant('kind', [
  v.object({ kind: v.literal('record'), node: v.string(), number: v.number(), record: accessRecordSchema }),
  v.object({ kind: v.literal('gap'), node: v.string(), number: v.number(), at: v.number(), reason: v.string() }),
]);

const labelSet = v.pipe(
  v.record(v.pipe(v.string(), v.maxLength(253)), v.pipe(v.string(), v.maxLength(253))),
  v.maxEntries(64, 'expected at most 64 labels'),
);

/** POST /v1/join-tokens */
export const createTokenRequestSchema = v.strictObject({
  uses: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(10_000)), 1),
  /** How long it may be used, in milliseconds. */
  ttlMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1_000), v.maxValue(31_536_000_000)), 3_600_000),
  /** Only a node of this id may use it. */
  node: v.optional(nameSchema),
  /** Labels that a node that joins with it is given. */
  labels: v.optional(labelSet, {}),
  /** Only boards of this firmware profile, and nodes that have these labels by themselves, may use it. */
  profile: v.optional(nameSchema),
  requires: v.optional(labelSet, {}),
  /** Does each join wait for an operator? */
  approve: v.optional(v.boolean(), false),
});

/** GET /v1/join-tokens: never with their secrets. */
export const joinTokenViewSchema = v.object({
  id: v.string(),
  state: v.picklist(['valid', 'used', 'expired']),
  uses: v.number(),
  used: v.number(),
  node: v.nullable(v.string()),
  profile: v.nullable(v.string()),
  requires: v.record(v.string(), v.string()),
  labels: v.record(v.string(), v.string()),
  approve: v.boolean(),
  createdAt: v.number(),
  expiresAt: v.number(),
});

/** GET /v1/joins: nodes that wait, or waited, for an operator. `id` is the beginning of the node's key, which it logs too. */
export const joinViewSchema = v.object({
  id: v.string(),
  state: v.picklist(['pending', 'approved', 'denied']),
  node: v.string(),
  token: v.string(),
  profile: v.nullable(v.string()),
  labels: v.record(v.string(), v.string()),
  reason: v.nullable(v.string()),
  at: v.number(),
  expiresAt: v.number(),
});

export const joinDecisionSchema = v.object({ id: v.string(), state: v.picklist(['approved', 'denied']) });

/** POST /v1/joins/:id/approve and /v1/joins/:id/deny */
export const denyRequestSchema = v.strictObject({ reason: v.optional(v.pipe(v.string(), v.maxLength(256))) });

export const createTokenResultSchema = v.object({
  id: v.string(),
  /** The string for `mesolite agent --join`: shown once, stored hashed. */
  join: v.string(),
  expiresAt: v.number(),
});

/** POST /v1/broker-certificates: `csr` is base64 DER for the SPIFFE id of a broker, whose key stays where it was made. */
export const brokerCertificateRequestSchema = v.strictObject({
  csr: v.pipe(v.string(), v.maxLength(8192)),
  /** DNS names and addresses at which nodes and the master reach it. */
  names: v.pipe(v.array(v.pipe(v.string(), v.maxLength(253))), v.minLength(1), v.maxLength(32)),
});

/** PEM: leaf first with all that a server shows, and what it trusts. */
export const brokerCertificateSchema = v.object({ chain: v.string(), roots: v.string() });

export const taskLogSchema = v.object({ task: v.string(), stream: v.string(), data: v.string() });

export const versionSchema = v.object({ version: v.string() });

/** Any answer that is not 2xx. */
export const errorAnswerSchema = v.object({ error: v.object({ code: v.string(), message: v.string() }) });

/** Lists come whole, each under its own name. */
export const nodeListSchema = v.object({ nodes: v.array(nodeViewSchema) });
export const taskListSchema = v.object({ tasks: v.array(taskViewSchema) });
export const frameworkListSchema = v.object({ frameworks: v.array(frameworkViewSchema) });
export const credentialListSchema = v.object({ credentials: v.array(credentialViewSchema) });
export const roleListSchema = v.object({ roles: v.array(roleViewSchema) });
export const jobListSchema = v.object({ jobs: v.array(jobViewSchema) });
export const serviceListSchema = v.object({ services: v.array(serviceDocumentSchema) });
export const policyListSchema = v.object({ policies: v.array(policyViewSchema) });
/** GET /v1/events: the newest that were asked for, oldest first. */
export const eventListSchema = v.object({ events: v.array(fleetEventSchema) });
export const joinTokenListSchema = v.object({ tokens: v.array(joinTokenViewSchema) });
export const joinListSchema = v.object({ joins: v.array(joinViewSchema) });
/** GET /v1/audit: `next` is for `after` of the next page; absent behind the last. */
export const auditListSchema = v.object({ entries: v.array(auditEntrySchema), next: v.optional(v.string()) });

export type BrokerCertificateRequest = v.InferOutput<typeof brokerCertificateRequestSchema>;
export type BrokerCertificate = v.InferOutput<typeof brokerCertificateSchema>;
export type ApplyRequest = v.InferOutput<typeof applyRequestSchema>;
export type ApplyResult = v.InferOutput<typeof applyResultSchema>;
export type NodeView = v.InferOutput<typeof nodeViewSchema>;
export type TaskView = v.InferOutput<typeof taskViewSchema>;
export type TaskDetail = v.InferOutput<typeof taskDetailSchema>;
export type FrameworkView = v.InferOutput<typeof frameworkViewSchema>;
export type CreateCredentialRequest = v.InferOutput<typeof createCredentialRequestSchema>;
export type CreateCredentialResult = v.InferOutput<typeof createCredentialResultSchema>;
export type CredentialView = v.InferOutput<typeof credentialViewSchema>;
export type RoleView = v.InferOutput<typeof roleViewSchema>;
export type JobView = v.InferOutput<typeof jobViewSchema>;
export type MeshView = v.InferOutput<typeof meshSchema>;
export type PolicyView = v.InferOutput<typeof policyViewSchema>;
export type AuditList = v.InferOutput<typeof auditListSchema>;
export type PlannedTask = v.InferOutput<typeof plannedTaskSchema>;
export type RemoveResult = v.InferOutput<typeof removeResultSchema>;
export type DrainRequest = v.InferOutput<typeof drainRequestSchema>;
export type DrainAnswer = v.InferOutput<typeof drainAnswerSchema>;
export type PlanView = v.InferOutput<typeof planSchema>;
export type TaskExplanation = v.InferOutput<typeof taskExplanationSchema>;
export type AuditEntry = v.InferOutput<typeof auditEntrySchema>;
export type JoinTokenView = v.InferOutput<typeof joinTokenViewSchema>;
export type JoinView = v.InferOutput<typeof joinViewSchema>;
export type CreateTokenRequest = v.InferOutput<typeof createTokenRequestSchema>;
export type CreateTokenResult = v.InferOutput<typeof createTokenResultSchema>;

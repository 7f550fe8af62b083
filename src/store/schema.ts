// The tables, one interface each. Times are milliseconds since 1970; `*Json` columns hold JSON text that is decoded on the
// way out; flags are 0 or 1, since SQLite has no booleans. Columns are snake_case in the database (Kysely's CamelCasePlugin).

/** Facts of this control plane by name: trust domain, authority state, settings of the first start. */
export interface MetaTable {
  readonly name: string;
  readonly value: string;
}

/** Numbers that only rise: the epoch, revisions of signed documents, positions of the audit. */
export interface CounterTable {
  readonly name: string;
  readonly value: number;
}

export interface OperatorTokenTable {
  readonly name: string;
  readonly hash: string;
  readonly role: string;
  readonly createdAt: number;
  /** Of a framework: the Mesos roles that it may have, all where null. */
  readonly rolesJson: string | null;
}

export interface JoinTokenTable {
  readonly id: string;
  readonly key: string;
  readonly uses: number;
  readonly used: number;
  readonly expiresAt: number;
  readonly node: string | null;
  readonly labelsJson: string;
  readonly createdAt: number;
  readonly profile: string | null;
  readonly requiresJson: string;
  readonly approve: number;
}

/** Each key that asked to join by a token that wants an operator's approval, until it has joined or the token is gone. */
export interface JoinRequestTable {
  readonly id: string;
  readonly tokenId: string;
  readonly keyPin: string;
  readonly node: string;
  readonly labelsJson: string;
  readonly profile: string | null;
  readonly state: string;
  readonly reason: string | null;
  readonly at: number;
}

/** Each key that was let in by a token, with the answer it got. */
export interface JoinTable {
  readonly tokenId: string;
  readonly keyPin: string;
  readonly node: string;
  readonly chain: string;
  readonly at: number;
}

export interface NodeTable {
  readonly id: string;
  readonly keyPin: string;
  readonly labelsJson: string;
  readonly joinedAt: number;
  readonly state: string;
  readonly lastSeen: number;
  readonly boot: number;
  readonly birthJson: string | null;
  readonly epoch: number;
  readonly generation: number;
  readonly quarantine: string | null;
  readonly drainJson: string | null;
}

/** The last generation of a node's assignment under an epoch that is over. */
export interface PastGenerationTable {
  readonly node: string;
  readonly epoch: number;
  readonly generation: number;
}

export interface DocumentTable {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly json: string;
  readonly revision: number;
  readonly createdAt: number;
  readonly updatedAt: number;
}

export interface TaskTable {
  readonly id: string;
  readonly job: string;
  readonly namespace: string;
  readonly label: string;
  readonly type: string;
  readonly priority: number;
  readonly role: string;
  readonly template: string;
  readonly position: number;
  readonly node: string | null;
  readonly state: string;
  readonly stopping: number;
  readonly specJson: string | null;
  readonly submittedAt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly expectedEndAt: number | null;
  readonly ready: number;
  readonly restarts: number;
  readonly reason: string | null;
  readonly message: string | null;
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly pid: number | null;
  readonly ranMs: number | null;
  /** The framework that launched it over Mesos' API, and what that calls it; null for tasks of jobs. */
  readonly framework: string | null;
  readonly frameworkTask: string | null;
  /** The position of the last event that its framework has acknowledged; those behind it are yet to be told. */
  readonly acknowledged: number;
}

/** What was learned of how long a class of work takes on a profile; on all of them where `profile` is empty. */
export interface EstimateTable {
  readonly profile: string;
  readonly class: string;
  readonly meanLn: number;
  readonly varianceLn: number;
  readonly count: number;
  readonly learnedAt: number;
}

export interface TaskEventTable {
  readonly task: string;
  readonly uuid: string;
  readonly position: number;
  readonly receivedAt: number;
  readonly statusJson: string;
}

/** Where each run of a node's audit stands. A new `chain` begins where entries do not follow from those before; `position` is that of the last. */
export interface AuditRunTable {
  readonly node: string;
  readonly run: number;
  readonly chain: number;
  readonly last: number;
  readonly head: string;
  readonly position: number;
}

/** A record or a mark of its node (`line`), or a gap that the master noted (`gap` says what is missing before the next record). */
export interface AuditTable {
  readonly position: number;
  readonly node: string;
  /** Below 0 for what was stored before there were anchors. */
  readonly chain: number;
  readonly number: number;
  readonly at: number;
  readonly source: string;
  /** `<namespace>/<job>` of the task that was called or has called. */
  readonly workload: string;
  /** `allow`, `deny`, `gap`, or `mark` for other marks of a node. */
  readonly verdict: string;
  readonly line: string | null;
  readonly gap: string | null;
}

/** What was signed of the entries of a node up to `position`, from its anchor before. */
export interface AuditAnchorTable {
  readonly position: number;
  readonly node: string;
  readonly seq: number;
  readonly at: number;
  /** Bytes of all lines that were ever stored, up to here. */
  readonly bytesTo: number;
  readonly statement: string;
  readonly keyId: string;
  readonly signature: string;
}

/** Up to which anchor a node's audit was forgotten, and its hash. */
export interface AuditPrunedTable {
  readonly node: string;
  readonly seq: number;
  readonly hash: string;
  readonly statement: string;
  readonly keyId: string;
  readonly signature: string;
}

/** Certificates of the keys that have signed anchors: they outlive the generation of the authority that had them. */
export interface AuditSignerTable {
  readonly keyId: string;
  readonly certificate: string;
}

/** What operators are to know of; repetitions raise `count` and `at`. */
export interface EventTable {
  readonly id: number;
  readonly at: number;
  readonly kind: string;
  readonly node: string | null;
  readonly message: string;
  readonly count: number;
}

/** Every certificate that was issued, until it has been expired for a while: what is not known cannot be revoked. */
export interface CertificateTable {
  /** Upper-case hexadecimal. */
  readonly serial: string;
  readonly kind: string;
  readonly spiffeId: string;
  readonly node: string | null;
  /** The serial number of its issuer; its own for a root. */
  readonly issuer: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly issuedAt: number;
  readonly revokedAt: number | null;
}

/** A framework of Mesos' scheduler API; `removedAt` is when it was torn down or stayed away for too long. */
export interface FrameworkTable {
  readonly id: string;
  /** Who subscribed as it: nobody else may. */
  readonly principal: string;
  readonly infoJson: string;
  readonly registeredAt: number;
  readonly reregisteredAt: number;
  readonly removedAt: number | null;
}

/** Changes on their way through the fleet, and those that were. */
export interface RolloutTable {
  readonly number: number;
  readonly subject: string;
  readonly specJson: string;
  readonly changesJson: string;
  readonly operator: string;
  readonly stateJson: string;
  readonly startedAt: number;
  readonly endedAt: number | null;
}

/** A secret as the master has encrypted it. */
export interface SecretTable {
  readonly namespace: string;
  readonly name: string;
  readonly version: number;
  readonly sealed: string;
  readonly updatedAt: number;
}

/** How a job's newest change takes the place of `fromJson`, the last version that was good. */
export interface JobUpdateTable {
  readonly namespace: string;
  readonly name: string;
  readonly fromJson: string;
  readonly phase: string;
  readonly reason: string | null;
  readonly startedAt: number;
  readonly endedAt: number | null;
}

export interface Schema {
  readonly meta: MetaTable;
  readonly counters: CounterTable;
  readonly operatorTokens: OperatorTokenTable;
  readonly joinTokens: JoinTokenTable;
  readonly joins: JoinTable;
  readonly joinRequests: JoinRequestTable;
  readonly nodes: NodeTable;
  readonly pastGenerations: PastGenerationTable;
  readonly documents: DocumentTable;
  readonly tasks: TaskTable;
  readonly taskEvents: TaskEventTable;
  readonly estimates: EstimateTable;
  readonly audit: AuditTable;
  readonly auditRuns: AuditRunTable;
  readonly auditAnchors: AuditAnchorTable;
  readonly auditPruned: AuditPrunedTable;
  readonly auditSigners: AuditSignerTable;
  readonly events: EventTable;
  readonly certificates: CertificateTable;
  readonly frameworks: FrameworkTable;
  readonly rollouts: RolloutTable;
  readonly secrets: SecretTable;
  readonly jobUpdates: JobUpdateTable;
}

import type { TLSSocket } from 'node:tls';
import type { Ahead } from '../../model/ahead.ts';
import type {
  ApplyResult,
  AuditList,
  BrokerCertificate,
  BrokerCertificateRequest,
  CreateCredentialRequest,
  CreateCredentialResult,
  CreateTokenRequest,
  CreateTokenResult,
  CredentialView,
  DrainAnswer,
  DrainRequest,
  FrameworkView,
  JobView,
  JoinTokenView,
  JoinView,
  MeshView,
  NodeView,
  PlanView,
  PolicyView,
  RemoveResult,
  RoleView,
  TaskDetail,
  TaskExplanation,
  TaskView,
} from '../../model/api.ts';
import type { AuditChainPage } from '../../model/audit-item.ts';
import type { AuthorityView, CertificateView, RotateRequest } from '../../model/certificate.ts';
import type { EventKind, FleetEvent } from '../../model/event.ts';
import type { JobUpdateCommand, JobUpdateView } from '../../model/job-update.ts';
import type { ExecRequest, OutputFrame } from '../../model/output.ts';
import type { RolloutCommand, RolloutSpec, RolloutView } from '../../model/rollout.ts';
import type { PutSecretResult, SecretView } from '../../model/secret.ts';
import type { ServiceDocument } from '../../model/service.ts';
import type { Artifacts } from '../artifacts.ts';

/** A `framework` may use Mesos' scheduler API and nothing else. */
export type Role = 'admin' | 'reader' | 'framework';

/** Who calls the API. */
export interface Operator {
  readonly name: string;
  readonly role: Role;
  /** The Mesos roles that it may have offers for; all when absent. */
  readonly roles?: readonly string[] | undefined;
}

export interface DocumentName {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** Who changes documents, and how policies then go to the nodes. */
export interface ApplyOptions {
  /** The operator's name. */
  readonly by: string;
  readonly rollout?: RolloutSpec | undefined;
  readonly atOnce?: boolean | undefined;
}

export interface AuditQuery {
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  readonly node?: string | undefined;
  readonly principal?: string | undefined;
  readonly workload?: string | undefined;
  readonly verdict?: 'allow' | 'deny' | undefined;
  readonly limit: number;
  readonly after?: string | undefined;
}

export interface AuditChainQuery {
  readonly node?: string | undefined;
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  readonly after?: number | undefined;
  readonly limit: number;
}

export interface EventQuery {
  readonly since?: number | undefined;
  readonly node?: string | undefined;
  readonly kind?: EventKind | undefined;
  readonly limit: number;
}

export interface JobName {
  readonly namespace: string;
  readonly job: string;
}

export interface TaskFilter {
  readonly job?: string | undefined;
  readonly namespace?: string | undefined;
}

export interface LogQuery {
  readonly task: string;
  readonly stream: 'stdout' | 'stderr';
  readonly tailBytes: number;
  readonly tailLines?: number | undefined;
  /** Milliseconds since 1970. */
  readonly since?: number | undefined;
}

/** As `master/secrets.ts`. */
export interface SecretsFace {
  put(name: Omit<DocumentName, 'kind'>, value: Buffer, by: string): Promise<PutSecretResult>;
  list(): Promise<SecretView[]>;
  remove(name: Omit<DocumentName, 'kind'>, by: string): Promise<void>;
}

/** What the master can be asked over HTTP; each may throw a MesoliteError, which becomes the answer. */
export interface ApiFace {
  readonly version: string;
  authenticate(token: string): Promise<Operator | undefined>;
  /** The node that is at the other side of a connection, if it has shown that it is one. */
  nodeOf(socket: TLSSocket): string | undefined;
  readonly artifacts: Artifacts;
  apply(documents: readonly unknown[], options: ApplyOptions): Promise<ApplyResult>;
  /** The name of the rollout by which a policy goes, if there is one. */
  remove(ref: DocumentName, options: ApplyOptions): Promise<string | undefined>;
  documents(kind: string | undefined): Promise<unknown[]>;
  nodes(): Promise<NodeView[]>;
  /** Throws NOT_FOUND, or INVALID_INPUT for a window that ends before it begins. */
  drain(node: string, request: DrainRequest): Promise<DrainAnswer>;
  undrain(node: string): Promise<DrainAnswer>;
  /** Takes it out of the fleet for good. Throws NOT_FOUND, and CONFLICT while it is up unless `force`. */
  removeNode(node: string, how: { readonly force: boolean; readonly operator: string }): Promise<RemoveResult>;
  /** Has the database hold over what a node has; throws NOT_FOUND, or CONFLICT where it does already. */
  takeOver(node: string, operator: string): Promise<Ahead>;
  jobs(): Promise<JobView[]>;
  roles(): Promise<RoleView[]>;
  /** Throws NOT_FOUND where no update is under way, and CONFLICT where there is nothing to promote. */
  commandUpdate(name: JobName, command: JobUpdateCommand, by: string): Promise<JobUpdateView>;
  /** Those of Mesos' API, the removed ones first. */
  frameworks(): Promise<FrameworkView[]>;
  createCredential(request: CreateCredentialRequest): Promise<CreateCredentialResult>;
  credentials(): Promise<CredentialView[]>;
  removeCredential(name: string): Promise<void>;
  tasks(filter: TaskFilter): Promise<TaskView[]>;
  /** Tells of all of them, then of those that change, or of none now and then; until `signal` aborts. Throws QUEUE_FULL. */
  watchTasks(filter: TaskFilter, tell: (tasks: readonly TaskView[]) => void, signal: AbortSignal): void;
  task(id: string): Promise<TaskDetail>;
  /** What applying these would come to; throws as `apply`. */
  plan(documents: readonly unknown[]): Promise<PlanView>;
  explainTask(id: string): Promise<TaskExplanation>;
  taskLog(query: LogQuery, signal: AbortSignal): Promise<string>;
  /** As `LogFollowers.follow`. */
  followLog(query: LogQuery, onFrame: (frame: OutputFrame) => void, signal: AbortSignal): Promise<void>;
  /** As `Execs.run`, where the task is. */
  exec(
    request: ExecRequest & { readonly task: string; readonly by: string },
    onFrame: (frame: OutputFrame) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
  readonly secrets: SecretsFace;
  services(): Promise<ServiceDocument[]>;
  policies(): Promise<PolicyView[]>;
  mesh(): MeshView;
  rollouts(): Promise<RolloutView[]>;
  /** `by` is the operator's name. */
  commandRollout(name: string, command: RolloutCommand, by: string): Promise<RolloutView>;
  audit(query: AuditQuery): Promise<AuditList>;
  auditChain(query: AuditChainQuery): Promise<AuditChainPage>;
  events(query: EventQuery): Promise<FleetEvent[]>;
  /** Newest first; without `all` only what holds or should have been renewed. */
  certificates(filter: { readonly node?: string | undefined; readonly all: boolean }): Promise<CertificateView[]>;
  revoke(which: { readonly serial: string } | { readonly node: string }): Promise<CertificateView[]>;
  /** What Prometheus reads, with its media type. */
  metrics(): Promise<{ readonly contentType: string; readonly text: string }>;
  authority(): Promise<AuthorityView>;
  rotateAuthority(request: RotateRequest): Promise<AuthorityView>;
  retireAuthority(options: { readonly force: boolean }): Promise<AuthorityView>;
  /** A certificate for a broker that others run; throws as `Authority.issueBroker`. */
  certifyBroker(request: BrokerCertificateRequest): Promise<BrokerCertificate>;
  createJoinToken(request: CreateTokenRequest): Promise<CreateTokenResult>;
  joinTokens(): Promise<JoinTokenView[]>;
  revokeJoinToken(id: string): Promise<void>;
  joins(): Promise<JoinView[]>;
  approveJoin(id: string): Promise<void>;
  denyJoin(id: string, reason: string | undefined): Promise<void>;
}

import type { AccessLogFormat } from '../model/access-line.ts';
import type { AuditSync } from '../model/audit-chain.ts';
import type { Finding } from '../model/finding.ts';
import type { MeshDefault, PathNormalization } from '../model/policy.ts';
import type { CustomResources } from '../model/resources.ts';

// What `mesolite master` and `mesolite agent` were asked for. What is left out is for the role to choose.

/** How long what the authority makes is valid, in milliseconds. */
export interface LifetimeOptions {
  readonly nodeMs?: number;
  readonly workloadMs?: number;
  readonly serverMs?: number;
  readonly issuingMs?: number;
  readonly configMs?: number;
  readonly rootMs?: number;
}

export interface AuthorityOptions {
  readonly lifetimes?: LifetimeOptions;
  readonly authorityPassphrase?: string;
  /** A root of the user's, in PEM. */
  readonly root?: { readonly rootPem: string; readonly rootKeyPem: string };
}

export interface MasterOptions extends AuthorityOptions {
  readonly dataDir: string;
  readonly host?: string;
  readonly apiPort?: number;
  readonly mqttPort?: number;
  /** A broker that others run, in place of the embedded one. */
  readonly broker?: { readonly host: string; readonly port: number; readonly joinPort: number };
  /** Plain HTTP on 127.0.0.1 for clients of Mesos; `isOpen` lets in those without credentials too. */
  readonly mesosHttp?: { readonly port: number; readonly isOpen: boolean };
  readonly trustDomain?: string;
  readonly rootNamespace?: string;
  readonly meshDefault?: MeshDefault;
  readonly pathNormalization?: PathNormalization;
  /** Which of the tasks of one priority goes first. */
  readonly taskOrder?: 'longestFirst' | 'arrival';
  readonly offlineGraceMs?: number;
  /** How much of the audit is kept. */
  readonly audit?: { readonly ms?: number; readonly bytes?: number };
  /** Names and addresses at which agents and operators reach it. */
  readonly advertise?: readonly string[];
  readonly logLevel: LogLevel;
}

export interface AgentOptions {
  readonly dataDir: string;
  /** The string that `mesolite token create` printed; only needed until the node has joined. */
  readonly join?: string;
  readonly node?: string;
  /** Where peers reach this node. */
  readonly address?: string;
  readonly meshPort?: number;
  /** Port of the proxy by which this node's tasks call others, on 127.0.0.1. */
  readonly outboundPort?: number;
  readonly meshHost?: string;
  readonly minTls?: 'TLSv1.2' | 'TLSv1.3';
  /** Where published ports listen. */
  readonly publishHost?: string;
  /** For tasks, inclusive. */
  readonly ports?: { readonly begin: number; readonly end: number };
  /** As whom tasks run that do not say so. */
  readonly taskUser?: string;
  /** The name of a firmware profile, when the board should not be recognised by itself. */
  readonly profile?: string;
  /** A folder with the operator's own profiles. */
  readonly profiles?: string;
  /** What it has, where its system says something else. */
  readonly cpuCount?: number;
  readonly memoryMb?: number;
  /** How fast it works, 1 being as fast as jobs say. */
  readonly speed?: number;
  /** Is its link paid for by the byte? */
  readonly metered?: boolean;
  /** MB a month for such a link. */
  readonly dataBudgetMb?: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** What it has beside what every node has. */
  readonly resources?: CustomResources;
  readonly offlineGraceMs?: number;
  /** A file that gets a line about each request. */
  readonly accessLog?: {
    readonly file: string;
    readonly format: AccessLogFormat;
    /** 0 to 1, of those that were allowed and went well. */
    readonly sample: number;
    readonly perSecond: number;
  };
  readonly audit?: {
    /** 0 to 1, of the requests that were allowed and went well. */
    readonly allowed?: number;
    readonly diskBytes?: number;
    readonly sync?: AuditSync;
  };
  /** What artifacts may take of the disk. */
  readonly artifactBytes?: number;
  /** Where Prometheus may ask. */
  readonly metrics?: { readonly host: string; readonly port: number };
  /** False: no other version takes the place of this one. */
  readonly upgrade?: boolean;
  readonly logLevel: LogLevel;
}

export interface JoinOptions {
  readonly dataDir: string;
  /** The string that `mesolite token create` printed. */
  readonly join: string;
  readonly node?: string;
  readonly profile?: string;
  /** A folder with the operator's own profiles. */
  readonly profiles?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** May the identity be given up that the node has? */
  readonly replace: boolean;
  readonly logLevel: LogLevel;
}

/** An agent's settings as far as `mesolite doctor` looks at what they name. */
export type DoctorOptions = Pick<
  AgentOptions,
  'dataDir' | 'join' | 'meshPort' | 'outboundPort' | 'taskUser' | 'profile' | 'profiles'
>;

/** Whom a node has become, and where. */
export interface Joined {
  readonly node: string;
  readonly trustDomain: string;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Runs a role until `signal` aborts and all of it has ended; rejects when it cannot start. */
export type StartRole<Options> = (options: Options, signal: AbortSignal) => Promise<void>;

/** What `main.ts` hands in, since roles never import each other. */
export interface CliParts {
  readonly version: string;
  /** The folder of the firmware profiles that come with this program. */
  readonly profilesDir: string;
  readonly startMaster: StartRole<MasterOptions>;
  readonly startAgent: StartRole<AgentOptions>;
  readonly examineNode: (options: DoctorOptions, signal: AbortSignal) => Promise<readonly Finding[]>;
  readonly joinFleet: (options: JoinOptions, signal: AbortSignal) => Promise<Joined>;
}

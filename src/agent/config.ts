import { hostname } from 'node:os';
import { dayMs } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import type { TlsVersion } from '../identity/contexts.ts';
import type { ProxySettings } from '../link/proxy-rules.ts';
import { maxOfflineGraceMs } from '../model/identity.ts';
import type { CustomResources, Range } from '../model/resources.ts';
import type { AccessLogSettings } from './access-log.ts';
import type { AuditSettings } from './audit-trail.ts';
import type { MetricsAddress } from './metrics-server.ts';

/** Settings of an agent; the command line gives some, the rest are the defaults below. */
export interface AgentConfig {
  readonly dataDir: string;
  /** The node's id. */
  readonly node: string;
  /** A join string, for the first start. */
  readonly join?: string | undefined;
  /** Where peers reach this node; found out when it is not given. */
  readonly address?: string | undefined;
  /** Address that the inbound proxy listens on; all when it is not given. */
  readonly meshHost?: string | undefined;
  readonly meshPort: number;
  /** The oldest version of TLS that proxies and clients from outside may speak with this node's; 1.3 when it is not given. */
  readonly minTls?: TlsVersion | undefined;
  /** Address that published ports listen on; all when it is not given. */
  readonly publishHost?: string | undefined;
  /** Port of the outbound proxy, on 127.0.0.1. */
  readonly outboundPort: number;
  /** Ports that tasks are given. */
  readonly taskPorts: readonly Range[];
  /** As whom tasks run that do not say so, where the agent is root; then none is root. */
  readonly taskUser?: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** What this node has beside what every node has, added to what its profile says of such boards. */
  readonly resources?: CustomResources | undefined;
  /** Cores and MB of memory, where the system says something else. */
  readonly cpuCount?: number | undefined;
  readonly memoryMb?: number | undefined;
  /** The name of the firmware profile, when the board is not to be recognised. */
  readonly profile?: string | undefined;
  /** How fast this node works, beside a node of speed 1; absent: it is measured. */
  readonly speed?: number | undefined;
  /** Is the way to the master paid for by the byte? Found out when absent. */
  readonly metered?: boolean | undefined;
  /** MB that agent and master may exchange in a month where it is; what the profile says when absent. */
  readonly dataBudgetMb?: number | undefined;
  /** How the network lets this node out. */
  readonly proxy?: ProxySettings | undefined;
  /** How often the broker's own port is tried again while the link goes by WebSocket. */
  readonly fallbackRetryMs?: number | undefined;
  /** Folder with the firmware profiles. */
  readonly profilesDir: string;
  /** Another with profiles of the operator's own, which go before those of the same name. */
  readonly profiles?: string | undefined;
  /** While this node has no link to the master, peers and itself may go on so long with certificates that have expired. */
  readonly offlineGraceMs: number;
  /** A file for a line about each request; absent: none is written. */
  readonly accessLog?: AccessLogSettings | undefined;
  /** What is recorded for the master, and what may wait here for it; see `defaultAuditSettings`. */
  readonly audit?: Partial<AuditSettings> | undefined;
  /** May operators run commands next to its tasks? Not when absent. */
  readonly allowExec?: boolean | undefined;
  /** What artifacts may take of the disk, in bytes; see `defaultArtifactBytes`. */
  readonly artifactBytes?: number | undefined;
  /** Public keys of minisign: then artifacts have to be signed by one of them. */
  readonly artifactKeys?: readonly string[] | undefined;
  /** What is kept of each output of a task in the long run; see `defaultLogRate`. */
  readonly taskLogBytesPerSecond?: number | undefined;
  /** Where Prometheus may ask for what the proxy has counted; absent: nowhere. */
  readonly metrics?: MetricsAddress | undefined;
}

export const defaultArtifactBytes = 2 * 1024 * 1024 * 1024;

export const defaultAgentConfig = {
  meshPort: 15_008,
  outboundPort: 15_001,
  taskPorts: [{ begin: 20_000, end: 20_999 }],
  labels: {},
  offlineGraceMs: 7 * dayMs,
} as const;

/** The host's name as a node id: lower case, without its domain. */
export function defaultNodeId(): string {
  const id = (hostname().split('.')[0] ?? '')
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .slice(0, 63);
  return id === '' ? 'node' : id;
}

/** Throws INVALID_INPUT for what cannot be an agent. */
export function checkAgentConfig(config: AgentConfig): AgentConfig {
  if (!/^[a-z0-9-]{1,63}$/.test(config.node)) {
    throw new MesoliteError('INVALID_INPUT', `node: expected 1 to 63 of a-z, 0-9 and "-", got "${config.node}"`);
  }
  for (const { begin, end } of config.taskPorts) {
    if (!(begin >= 1 && begin <= end && end <= 65_535)) {
      throw new MesoliteError('INVALID_INPUT', `ports: expected a range within 1-65535, got ${begin}-${end}`);
    }
  }
  if (!(config.offlineGraceMs >= 0 && config.offlineGraceMs <= maxOfflineGraceMs)) {
    throw new MesoliteError('INVALID_INPUT', `offline grace: expected 0s to 90d, got ${config.offlineGraceMs} ms`);
  }
  return config;
}

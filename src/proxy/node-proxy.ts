import type { Server } from 'node:net';
import type { Cell } from '../base/cell.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { AccessRecord } from '../model/access.ts';
import type { FirmwareProfile } from '../model/profile.ts';
import type { ServiceDocument } from '../model/service.ts';
import type { ShadowCount } from '../model/shadow-count.ts';
import type { CompiledPolicy } from '../policy/compile.ts';
import type { CompiledPeerAuthentication } from '../policy/peer-authentication.ts';
import type { CompiledRequestAuthentication } from '../policy/request-authentication.ts';
import type { Destinations } from '../traffic/destinations.ts';
import type { CompiledLimits } from '../traffic/limit.ts';
import type { CompiledRoutes } from '../traffic/service-routes.ts';
import type { LimitSnapshot, SeriesSnapshot } from './counters.ts';
import type { DefaultIdentity, GivenListeners } from './listener.ts';
import type { Peers } from './peers.ts';
import type { LocalWorkload } from './workload.ts';

export interface ProxyParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly random: Random;
  readonly peers: Peers;
  readonly policy: Cell<CompiledPolicy>;
  /** The tasks of this node that take part in the mesh, by task id. */
  readonly workloads: Cell<ReadonlyMap<string, LocalWorkload>>;
  /** The latest document of each service that tasks here call, by `<name>.<namespace>`. */
  readonly services: Cell<ReadonlyMap<string, ServiceDocument>>;
  /** How the endpoints of services are used. */
  readonly destinations: Cell<Destinations>;
  /** What RateLimits say of calls to here. */
  readonly limits: Cell<CompiledLimits>;
  /** How clients outside of the mesh are taken. */
  readonly peerAuthentication: Cell<CompiledPeerAuthentication>;
  /** Whose tokens are taken. */
  readonly requestAuthentication: Cell<CompiledRequestAuthentication>;
  /** Milliseconds since 1970; undefined while the node does not know the time. */
  readonly time: () => number | undefined;
  /** What VirtualServices say of calls from here. */
  readonly routes: Cell<CompiledRoutes>;
  /** Hears of each request when it is over; must be quick and must not throw. */
  readonly onAccess: (record: AccessRecord) => void;
}

export interface ProxySettings {
  /** 15008 by custom; 0 lets the system choose. */
  readonly meshPort: number;
  /** Absent: all addresses of the node. */
  readonly meshHost?: string | undefined;
  /** On loopback. */
  readonly outboundPort: number;
  /** Peers may speak TLS 1.2 too, with these ciphers (those of 1.3 among them). */
  readonly olderTls?: { readonly ciphers: string } | undefined;
  /** Where published ports listen; absent: on all addresses of the node. */
  readonly publishHost?: string | undefined;
  /** From the node's firmware profile. */
  readonly bounds: FirmwareProfile['proxy'];
  /** Who answers clients that send no server name; absent: they are refused. */
  readonly unnamed?: DefaultIdentity | undefined;
}

export interface RunningProxy {
  readonly meshPort: number;
  readonly outboundPort: number;
  /** The server of a port, by its name among `GivenListeners`, for another process to go on with. */
  readonly socketOf: (name: string) => Server | undefined;
  /** Settles after either signal, when everything is closed. */
  readonly stopped: Promise<void>;
}

export interface ProxySnapshot {
  readonly inboundConnections: number;
  readonly outboundConnections: number;
  readonly upstreamConnections: number;
  readonly failedHandshakes: number;
  readonly refusedRequests: number;
  readonly series: readonly SeriesSnapshot[];
  readonly limits: readonly LimitSnapshot[];
  readonly shadows: readonly ShadowCount[];
}

export interface NodeProxy {
  /**
   * Listens on both ports, or on sockets that listen already where `given` has them; an abort of `signal` drains for up to 5 s and
   * closes. One of `handedOver` says that another process listens on, so that what is under way may take 60 s. Throws START_FAILED.
   */
  start(signal: AbortSignal, given?: GivenListeners, handedOver?: AbortSignal): Promise<RunningProxy>;
  /** Closes every connection of the mesh, in and out, whose other side may stay no longer: after trust has changed. */
  recheck(): void;
  /** What was counted since the start, and what is open now. */
  snapshot(): ProxySnapshot;
  /** What policies that decide nothing would have done. */
  shadows(): ShadowCount[];
}

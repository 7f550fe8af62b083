import type { Clock } from '../../base/clock.ts';
import type { Deadlines } from '../deadlines.ts';
import type { ForwardParts } from './forward.ts';
import type { Head } from './head.ts';
import type { Mirrors } from './mirror.ts';

/** How long a client may take for what; milliseconds. */
export interface ClientTimeouts {
  readonly headMs: number;
  readonly idleMs: number;
  /** The same while the proxy is about to end. */
  readonly drainIdleMs: number;
  /** Without a byte in either direction while a request or a tunnel is open. */
  readonly streamIdleMs: number;
  /** For the client to close after the last answer has been sent. */
  readonly lingerMs: number;
}

/** What all client connections of a proxy share. */
export interface DownstreamParts extends ForwardParts {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  /** Read between a request's arrival and its forwarding, never across turns of the event loop. */
  readonly requestHead: Head;
  readonly timeouts: ClientTimeouts;
  readonly mirrors: Mirrors;
}

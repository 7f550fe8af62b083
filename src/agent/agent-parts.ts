import type { Server } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { GivenSockets } from '../device/given-sockets.ts';
import type { CheckedInventory } from '../device/inventory.ts';
import type { AccessRecord } from '../model/access.ts';
import type { VersionChange } from './upgrade.ts';

export interface AgentParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  /** What the board is, where somebody reads it already; absent: whoever needs it does. */
  readonly readBoard?: (() => Promise<CheckedInventory>) | undefined;
  /** Sockets that listen already; absent: none. */
  readonly sockets?: GivenSockets | undefined;
  /** How another version takes the place of this one; absent: none does. */
  readonly change?: VersionChange | undefined;
  /** What ends the proxy, which may serve on when all else has ended; absent: it ends with the rest. */
  readonly serving?: { readonly signal: AbortSignal; readonly handedOver: AbortSignal } | undefined;
  /** Takes the records of requests that end when all but the proxy has ended; absent: they go to the access log alone. */
  readonly late?: ((record: AccessRecord) => void) | undefined;
  /** Hands over what the agent before this one still records; absent: there was none. */
  readonly inherited?: ((to: (record: AccessRecord) => void) => void) | undefined;
}

/** An agent that is up. */
export interface RunningAgent {
  readonly node: string;
  readonly meshPort: number;
  /** A socket that it listens on, by the names of `GivenSockets`. */
  readonly socketOf: (name: string) => Server | undefined;
  /** Settles when the master has answered to what this start of the agent has said. */
  readonly reportedIn: Promise<void>;
  /** Settles, after `signal` has aborted, when nothing but its proxy is left: another agent may use its directory. */
  readonly released: Promise<void>;
  /** Settles when all of it has ended; its tasks go on. */
  readonly ended: Promise<void>;
}

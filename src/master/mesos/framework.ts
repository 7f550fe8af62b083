import type { Gate } from '../../base/gate.ts';
import type { FrameworkInfo } from '../../model/framework.ts';
import type { EventStream } from './event-stream.ts';

/** A framework that is not removed, as the master knows it now. */
export interface Framework {
  readonly id: string;
  /** Who subscribed as it: nobody else may call as it. */
  readonly principal: string;
  readonly registeredAt: number;
  reregisteredAt: number;
  info: FrameworkInfo;
  /** Where its events go; absent while it is away. */
  stream: EventStream | undefined;
  /** Its tasks are killed then, on the monotonic clock, unless it comes back; absent while it is there. */
  removeAt: number | undefined;
  heartbeatAt: number;
  /** Roles for which it wants no offers. */
  readonly suppressed: Set<string>;
  /** Its calls, in their order. */
  readonly gate: Gate;
}

import { dayMs, minuteMs, secondMs } from '../../base/clock.ts';

/** What Mesos' API may take up. */
export const mesosBounds = {
  /** Frameworks that are not removed. */
  frameworks: 256,
  /** Removed ones that are remembered. */
  removedFrameworks: 100,
  /** Calls of one framework that wait for those before them. */
  waitingCalls: 1_000,
  /** Tasks of one framework that have not ended. */
  liveTasks: 10_000,
  /** Tasks of one ACCEPT; ids of one RECONCILE. */
  perCall: 10_000,
  /** Bytes of one call. */
  callBytes: 4 * 1024 * 1024,
  /** Ended tasks that operators are shown, the newest. */
  completedTasks: 1_000,
  /** Subscribers of operator events. */
  operatorStreams: 32,
  /** Bytes that a subscriber has not taken yet, on top of the first snapshot; beyond them it is cut off. */
  streamBytes: 8 * 1024 * 1024,
} as const;

/** Times that Mesos' API lives by. */
export const mesosTimes = {
  /** There are clients that hang up after 10 s of silence. */
  heartbeatMs: 5 * secondMs,
  sweepEveryMs: secondMs,
  /** As Mesos' `allocation_interval`: no node is offered to the same role sooner again. */
  allocationMs: secondMs,
  /** Mesos' default for `refuse_seconds`, and its largest. */
  refuseMs: 5 * secondMs,
  maxRefuseMs: 365 * dayMs,
  /** An offer that is not answered comes back; sooner while tasks of jobs wait for what it holds. */
  offerMs: 5 * minuteMs,
  contendedOfferMs: 5 * secondMs,
  /** As Mesos' agents repeat a status update until it is acknowledged. */
  updateRetryMs: 10 * secondMs,
  maxUpdateRetryMs: 10 * minuteMs,
  /** After a start of the master each framework has at least so long to come back. */
  returnMs: minuteMs,
} as const;

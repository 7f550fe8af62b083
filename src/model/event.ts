import * as v from 'valibot';

/** How much an event wants of its operator: nothing, a look in the day, a look now. */
export const severities = ['info', 'warning', 'critical'] as const;
export type Severity = (typeof severities)[number];

/** Every kind of event with its severity; kubectl's word for them, and what `mesolite get events` lists. */
export const eventSeverities = {
  'node-joined': 'info',
  'node-ready': 'info',
  'node-unreachable': 'warning',
  'node-throttled': 'warning',
  'node-hot': 'critical',
  'node-wears-out': 'warning',
  'node-over-data-budget': 'warning',
  'node-quarantined': 'critical',
  'node-deleted': 'info',
  'node-drained': 'info',
  'node-ahead': 'critical',
  'node-taken-over': 'warning',
  'node-unknown': 'critical',
  'drain-waits': 'warning',
  'session-takeover': 'warning',
  'join-pending': 'warning',
  'join-refused': 'warning',
  'join-locked': 'warning',
  'certificate-expiring': 'warning',
  'certificate-expired': 'warning',
  'certificate-revoked': 'warning',
  'document-refused': 'warning',
  'document-withheld': 'critical',
  'keys-unavailable': 'warning',
  exec: 'warning',
  'secret-changed': 'info',
  'guarantees-exceed-fleet': 'warning',
  'statuses-lost': 'warning',
  'clock-corrected': 'warning',
  'link-fallback': 'warning',
  'link-restored': 'info',
  'authority-rotated': 'info',
  'rollout-started': 'info',
  'rollout-step': 'info',
  'rollout-paused': 'warning',
  'rollout-resumed': 'info',
  'rollout-succeeded': 'info',
  'rollout-rolled-back': 'critical',
  'rollout-aborted': 'warning',
  'rollout-superseded': 'info',
  'job-updated': 'info',
  'job-reverted': 'critical',
  'job-update-failed': 'critical',
} as const satisfies Readonly<Record<string, Severity>>;

export type EventKind = keyof typeof eventSeverities;

export const eventKinds = Object.keys(eventSeverities).filter((word): word is EventKind => word in eventSeverities);

/** Something that an operator should be able to read later; what is told again within an hour is one event with a count. */
export const fleetEventSchema = v.object({
  id: v.number(),
  /** Milliseconds since 1970 by the master's clock: when it happened, or happened last. */
  at: v.number(),
  kind: v.picklist(eventKinds),
  severity: v.picklist(severities),
  node: v.nullable(v.string()),
  message: v.string(),
  count: v.number(),
});

export type FleetEvent = v.InferOutput<typeof fleetEventSchema>;

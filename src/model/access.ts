import * as v from 'valibot';

const text = (max: number) => v.pipe(v.string(), v.maxLength(max));

/** One decided request, as the access log and the audit see it; a path never carries its query. */
export const accessRecordSchema = v.object({
  /** Milliseconds since 1970. */
  at: v.number(),
  /** There when the node did not know the time: `at` is what it took it for, this how long after its start it was. */
  sinceStartMs: v.optional(v.number()),
  /** `exec`: an operator's command next to `task`, in `path`; no request. */
  direction: v.picklist(['inbound', 'outbound', 'exec']),
  /** Principals, or `-` when there is none. */
  source: text(2048),
  destination: text(2048),
  sourceIp: text(64),
  task: text(255),
  method: text(64),
  host: text(255),
  path: text(2048),
  verdict: v.picklist(['allow', 'deny']),
  /** `<namespace>/<policy>#<rule index>`, or the reason where no policy spoke. */
  rule: text(256),
  /** The first AUDIT rule that matched. */
  audited: v.optional(text(256)),
  /** What the policies in dry run would have made of it, where that is something else. */
  shadow: v.optional(v.object({ verdict: v.picklist(['allow', 'deny']), rule: text(256) })),
  /** The status that was answered; 0 for TCP. */
  status: v.number(),
  bytesReceived: v.number(),
  bytesSent: v.number(),
  durationMs: v.number(),
  requestId: text(64),
  /** Envoy's response flags (UF, UH, UO, NR …), or `-`. */
  flags: text(32),
});

export type AccessRecord = v.InferOutput<typeof accessRecordSchema>;

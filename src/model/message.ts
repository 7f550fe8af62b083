import { Buffer } from 'node:buffer';
import * as v from 'valibot';
import { type Bounds, decodeJson } from '../base/shape.ts';
import { stockSchema } from './artifact.ts';
import { auditBatchSchema } from './audit-chain.ts';
import { envelopeKinds } from './envelope.ts';
import { nameSchema, taskIdSchema } from './ids.ts';
import { execAskSchema, logAskSchema, outputPieceFields, outputTakenSchema } from './output.ts';
import { pathNormalizations } from './policy.ts';
import { heartbeatMsSchema, inventorySchema, thermalSchema, usageSchema } from './profile.ts';
import { resourcesSchema } from './resources.ts';
import { trialSchema } from './rollout.ts';
import { sealKeySchema } from './secret.ts';
import { shadowCountSchema } from './shadow-count.ts';
import { spentSchema } from './spent.ts';
import { progressSchema, taskSpecSchema, taskStatusSchema } from './task.ts';

// Bodies of the messages of PROTOCOL. What a node sends is `{v, boot, seq, ts, …}`; what the master sends is an envelope
// (model/envelope.ts) whose body is one of the *Body schemas here. Unknown fields are ignored: an older side keeps working.

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const text = (max: number) => v.pipe(v.string(), v.maxLength(max));
const hash = text(64);

const head = {
  v: v.literal(1),
  /** Rises with each start of the agent; 0 is never used. */
  boot: whole,
  /** Counts the messages of one boot from 0. */
  seq: whole,
  /** Milliseconds since 1970 by the node's clock. */
  ts: v.number(),
};

/** Asks the master for its time: the `ack` that repeats this nonce was made after it, so its `issuedAt` is fresh whatever the broker does. */
const timeNonce = v.optional(text(64));

/** `up/<node>/birth`: who I am and what I hold. */
export const birthSchema = v.object({
  ...head,
  nonce: timeNonce,
  /** Random, chosen at each start of the agent: a copied card does not have it. */
  start: v.optional(text(64)),
  /** The node's clock: what is added to the system's, and whether the time is known at all. */
  clock: v.optional(v.object({ offsetMs: v.number(), known: v.boolean() })),
  /** How the link reaches the broker. */
  via: v.optional(v.picklist(['mqtts', 'wss'])),
  /** What secrets for its tasks are sealed to. */
  sealKey: v.optional(sealKeySchema),
  version: text(64),
  profile: nameSchema,
  inventory: inventorySchema,
  /** What the node can give to tasks: what it has less what its profile reserves. */
  total: resourcesSchema,
  attributes: v.record(text(253), text(253)),
  /** Where peers reach the inbound proxy. */
  address: text(253),
  meshPort: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)),
  heartbeatMs: heartbeatMsSchema,
  usage: usageSchema,
  /** What heat means to such a board. */
  thermal: v.optional(v.object(thermalSchema.entries)),
  /** What tasks are held to by the kernel here. */
  controllers: v.optional(v.pipe(v.array(text(16)), v.maxLength(8))),
  /** What an operator would want to know of the node, each with what helps. */
  warnings: v.optional(v.pipe(v.array(text(512)), v.maxLength(16))),
  /** Work that takes a second on a node of speed 1 takes 1/speed here; 1 when it is not known. */
  speed: v.optional(v.pipe(v.number(), v.minValue(0.001), v.maxValue(1000))),
  stock: v.optional(stockSchema),
  spent: v.optional(spentSchema),
  /** The sha256 of the bundle that the agent runs; absent for the installed one. */
  bundle: v.optional(text(64)),
  /** What it does not run although it should. */
  refusedBundle: v.optional(v.object({ bundle: text(64), why: text(512) })),
  /** Hash of the assignment that is in force here, see `assignmentHash`. */
  held: hash,
  epoch: whole,
  generation: whole,
  /** The newest status of each task that is on the node. */
  tasks: v.pipe(v.array(taskStatusSchema), v.maxLength(10_000)),
});

/** The most tasks whose progress one heartbeat tells. */
export const maxProgressReports = 200;

const progressReportSchema = v.object({ task: taskIdSchema, ...progressSchema.entries });

/** `up/<node>/hb`: `usage` and `progress` hold only what changed since the last one that had it all (`full`). */
export const heartbeatSchema = v.object({
  ...head,
  /** Left out: the master goes by when it comes. */
  ts: v.optional(v.number()),
  nonce: timeNonce,
  full: v.optional(v.boolean(), false),
  usage: v.optional(v.partial(usageSchema), {}),
  /** When it has changed, and in full ones. */
  held: v.optional(hash),
  /** When it has changed, and in full ones. */
  stock: v.optional(stockSchema),
  /** The next one comes within so long; absent: as the birth said. */
  everyMs: v.optional(heartbeatMsSchema),
  /** In full ones. */
  spent: v.optional(spentSchema),
  /** While the node tries a rollout. */
  trial: v.optional(trialSchema),
  progress: v.optional(v.pipe(v.array(progressReportSchema), v.maxLength(maxProgressReports))),
});

/** `up/<node>/task` */
export const taskReportSchema = v.object({
  ...head,
  statuses: v.pipe(v.array(taskStatusSchema), v.minLength(1), v.maxLength(100)),
  /** So many before these were dropped, since too many waited. */
  lost: v.optional(whole),
});

/** `up/<node>/ack`: a signed document was taken (`reason` absent), refused, or did not come though the manifest names it (`withheld`). */
export const documentAckSchema = v.object({
  ...head,
  kind: v.picklist(envelopeKinds),
  subject: text(128),
  /** 0 where it could not be read. */
  revision: whole,
  reason: v.optional(text(1024)),
  withheld: v.optional(v.boolean()),
  /** The rollout whose changes are in force with a policy document. */
  rollout: v.optional(text(64)),
});

/** `up/<node>/audit` */
export const auditMessageSchema = v.object({ ...head, batch: auditBatchSchema });

/** `up/<node>/csr`: asks for a certificate; `id` names the request, `csr` is base64 DER. A node that may only renew can ask for the time here. */
export const certificateRequestSchema = v.object({
  ...head,
  nonce: timeNonce,
  id: text(64),
  spiffeId: text(2048),
  csr: text(8192),
});

/** `up/<node>/log`: a piece of a task's output, asked for by `ask` with the same id. */
export const logChunkSchema = v.object({ ...head, ...outputPieceFields });

/** `up/<node>/shadow`: what policies that decide nothing would have done, all of them each time. */
export const shadowReportSchema = v.object({
  ...head,
  /** Of the policy document in force. */
  revision: whole,
  counts: v.pipe(v.array(shadowCountSchema), v.maxLength(1000)),
});

/** `up/<node>/death`: the last will; one with an older boot than is known is ignored. */
export const deathSchema = v.object({ v: v.literal(1), boot: whole });

export type Birth = v.InferOutput<typeof birthSchema>;
export type Heartbeat = v.InferOutput<typeof heartbeatSchema>;
export type ProgressReport = v.InferOutput<typeof progressReportSchema>;
export type TaskReport = v.InferOutput<typeof taskReportSchema>;
export type DocumentAck = v.InferOutput<typeof documentAckSchema>;
export type AuditMessage = v.InferOutput<typeof auditMessageSchema>;
export type CertificateRequest = v.InferOutput<typeof certificateRequestSchema>;
export type LogChunk = v.InferOutput<typeof logChunkSchema>;
export type ShadowReport = v.InferOutput<typeof shadowReportSchema>;
export type Death = v.InferOutput<typeof deathSchema>;

export const upSchemas = {
  birth: birthSchema,
  hb: heartbeatSchema,
  task: taskReportSchema,
  ack: documentAckSchema,
  audit: auditMessageSchema,
  csr: certificateRequestSchema,
  log: logChunkSchema,
  shadow: shadowReportSchema,
  death: deathSchema,
} as const;

/** The fields that the sender of any message up adds by itself. */
export type MessageHead = 'v' | 'boot' | 'seq' | 'ts';

/**
 * Body of `down/<node>/task`: the desired tasks of a node. `full` replaces them all; otherwise it is a step that holds only
 * on top of generation `base` of the same epoch. An older (epoch, generation) is ignored.
 */
export const assignmentSchema = v.object({
  epoch: whole,
  generation: whole,
  full: v.boolean(),
  base: whole,
  put: v.pipe(v.array(taskSpecSchema), v.maxLength(10_000)),
  remove: v.pipe(v.array(taskIdSchema), v.maxLength(10_000)),
});

/** Body of `down/<node>/ask`. */
export const askSchema = v.variant('what', [
  v.object({ what: v.literal('birth') }),
  /** Renew every certificate, at a moment of your own choice within this: another authority issues now. */
  v.object({ what: v.literal('rotate'), withinMs: whole }),
  logAskSchema,
  execAskSchema,
]);

/** Body of `down/<node>/ack`: what the master has committed, and certificates that it issued. */
export const masterAckSchema = v.object({
  statuses: v.optional(v.pipe(v.array(text(64)), v.maxLength(100)), []),
  /** The number of the last audit record that is stored. */
  audit: v.optional(whole),
  /** What somebody follows. */
  output: v.optional(v.pipe(v.array(outputTakenSchema), v.maxLength(64)), []),
  /** Repeats the nonce of a birth, a heartbeat or a certificate request that asked for the time, which is the envelope's `issuedAt`. */
  nonce: v.optional(text(64)),
  certificate: v.optional(
    v.object({
      id: text(64),
      /** PEM, leaf first, without the root. */
      chain: v.optional(text(32_768)),
      error: v.optional(text(512)),
    }),
  ),
});

/** The most addresses that the RequestAuthentications of a fleet may name for keys. */
export const maxKeySets = 32;

/** The public keys of one address, as they travel and as a master keeps them. */
export const keySetSchema = v.object({
  uri: text(2048),
  keys: v.pipe(v.array(v.record(text(16), text(2048))), v.maxLength(64)),
});

/** Body of `all/policy`: every policy of the trust domain as its operators wrote it. */
export const policyBodySchema = v.object({
  trustDomain: text(255),
  rootNamespace: nameSchema,
  meshDefault: v.picklist(['allow', 'deny']),
  pathNormalization: v.optional(v.picklist(pathNormalizations), 'BASE'),
  /** What the master fetched from the `jwksUri`s of RequestAuthentications: public keys as RFC 7517 writes them. */
  keySets: v.optional(v.pipe(v.array(keySetSchema), v.maxLength(maxKeySets)), []),
  documents: v.pipe(v.array(v.unknown()), v.maxLength(10_000)),
  /** What some nodes have beside it, or in its place. */
  rollout: v.optional(
    v.object({
      name: text(64),
      /** Absent: all of them. */
      nodes: v.optional(v.pipe(v.array(nameSchema), v.maxLength(10_000))),
      put: v.pipe(v.array(v.unknown()), v.maxLength(10_000)),
      remove: v.pipe(
        v.array(v.object({ kind: text(64), namespace: nameSchema, name: nameSchema })),
        v.maxLength(10_000),
      ),
    }),
  ),
});

/** `join/<token>/<nonce>/req`: `mac` is base64url HMAC-SHA-256 with the token's key over `mesolite/v1/join/req`, the nonce and the exact `body` text. */
export const joinRequestSchema = v.object({ v: v.literal(1), body: text(65_536), mac: text(64) });

/** The JSON in a join request's `body`; `csr` is base64 DER. */
export const joinRequestBodySchema = v.object({
  node: nameSchema,
  csr: text(8192),
  labels: v.optional(v.pipe(v.record(text(253), text(253)), v.maxEntries(64)), {}),
  profile: v.optional(nameSchema),
});

/** `join/<token>/<nonce>/res`: `mac` is over `mesolite/v1/join/res`, the nonce, the key's SHA-256 and the exact `body` text. */
export const joinResponseSchema = v.object({ v: v.literal(1), body: text(65_536), mac: text(64) });

export const joinResultSchema = v.variant('status', [
  v.object({
    status: v.literal('accepted'),
    trustDomain: text(255),
    chain: text(32_768),
    roots: v.array(text(8192)),
    signers: v.array(text(8192)),
    /** Where the node finds the broker from now on; where it joined when absent. */
    masters: v.optional(v.pipe(v.array(v.object({ host: text(253), port: whole })), v.minLength(1), v.maxLength(8))),
    time: whole,
  }),
  v.object({ status: v.literal('pending'), retryAfterMs: whole }),
  v.object({ status: v.literal('refused'), reason: text(512) }),
]);

export type Assignment = v.InferOutput<typeof assignmentSchema>;
export type Ask = v.InferOutput<typeof askSchema>;
export type MasterAck = v.InferInput<typeof masterAckSchema>;
export type PolicyBody = v.InferOutput<typeof policyBodySchema>;
/** What holds for all policies, as the master says it. */
export interface PolicySettings extends Omit<v.InferInput<typeof policyBodySchema>, 'documents' | 'keySets'> {
  readonly keySets?: readonly { readonly uri: string; readonly keys: readonly Readonly<Record<string, string>>[] }[];
}
export type JoinRequest = v.InferOutput<typeof joinRequestBodySchema>;
export type JoinResult = v.InferOutput<typeof joinResultSchema>;

/** Bounds of one message: QoS 0 telemetry is small, documents may hold a whole fleet's policy. */
export const messageBounds = {
  up: { maxBytes: 256 * 1024, maxDepth: 12 },
  down: { maxBytes: 4 * 1024 * 1024, maxDepth: 24 },
  join: { maxBytes: 96 * 1024, maxDepth: 8 },
} as const satisfies Record<string, Bounds>;

/** The longest MQTT keep-alive that the broker takes: a half-open connection is noticed within one and a half of it. */
export const maxKeepaliveSeconds = 120;

export function encodeMessage(message: object): Buffer {
  return Buffer.from(JSON.stringify(message));
}

/** Reads what a node sent; throws INVALID_INPUT or TOO_LARGE. */
export function decodeUp<K extends keyof typeof upSchemas>(
  kind: K,
  payload: Uint8Array,
): v.InferOutput<(typeof upSchemas)[K]> {
  return decodeJson(upSchemas[kind], payload, kind, messageBounds.up);
}

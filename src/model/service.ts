import * as v from 'valibot';
import { nameSchema, taskIdSchema } from './ids.ts';
import { portProtocols } from './job.ts';

/** Hosts of the mesh end in this: `http://<service>.<namespace>.mesh`. */
export const meshDomain = 'mesh';

const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));

/** One running task behind a service. */
export const endpointSchema = v.object({
  task: taskIdSchema,
  node: nameSchema,
  /** Where the node's inbound mTLS port listens. */
  address: v.pipe(v.string(), v.maxLength(253)),
  port,
  /** What to ask for by SNI, so that the inbound proxy finds the task. */
  serverName: v.pipe(v.string(), v.maxLength(253)),
  weight: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)),
  /** Which of the document's `labelSets` its task has. */
  labelSet: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(9_999)), 0),
});

/** All that a caller needs to know of one service; travels signed and retained under `all/services/<name>.<namespace>`. */
export const serviceDocumentSchema = v.object({
  name: nameSchema,
  namespace: nameSchema,
  protocol: v.picklist(portProtocols),
  /** The one SPIFFE id that an endpoint may show. */
  spiffeId: v.pipe(v.string(), v.maxLength(2048)),
  endpoints: v.pipe(v.array(endpointSchema), v.maxLength(10_000)),
  /** Labels of tasks, by which subsets are told apart: those of one job are said once. */
  labelSets: v.optional(v.pipe(v.array(v.record(v.string(), v.string())), v.maxLength(10_000)), []),
});

export type Endpoint = v.InferOutput<typeof endpointSchema>;
export type ServiceDocument = v.InferOutput<typeof serviceDocumentSchema>;

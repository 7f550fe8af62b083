import * as v from 'valibot';
import { hourMs, secondMs } from '../base/clock.ts';
import { signatureSchema } from './artifact.ts';
import { durationSchema } from './duration.ts';

// A kind of our own: which bundle the agents of all nodes run. It goes to the nodes as policies do, so by rings, signed, and kept there.

/** There is one, in the root namespace. */
export const agentVersionName = 'agent';

export const agentVersionSpecSchema = v.strictObject({
  source: v.pipe(
    v.string(),
    v.regex(/^mesolite:[0-9a-f]{64}$/, 'expected mesolite:<sha256>, as `mesolite push` prints it'),
  ),
  /** A node on which it does not reach the master within so long goes back to what it had. */
  reportWithin: v.optional(
    v.pipe(durationSchema, v.minValue(secondMs, 'expected at least 1s'), v.maxValue(hourMs, 'expected at most 1h')),
    '2m',
  ),
  /** By whom the bundle is signed, for nodes that ask for it of all that they are given. */
  signature: v.optional(signatureSchema),
});

export type AgentVersionSpec = v.InferOutput<typeof agentVersionSpecSchema>;

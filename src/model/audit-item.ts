import * as v from 'valibot';
import { signedSchema } from './audit-anchor.ts';

const place = { node: v.string(), chain: v.number(), number: v.number() };

/**
 * One line of an exported audit: a node's entry as it wrote it, what the master noted between entries, or what it signed. In the order in
 * which the master stored them; an anchor comes behind the entries that it is about.
 */
export const auditItemSchema = v.variant('kind', [
  /** The certificate of a key that signed. */
  v.object({ kind: v.literal('signer'), keyId: v.string(), certificate: v.pipe(v.string(), v.maxLength(8192)) }),
  v.object({ kind: v.literal('pruned'), node: v.string(), ...signedSchema.entries }),
  /** `record` has an access record or a mark of the node, with the fields in the order in which it was hashed. */
  v.object({ kind: v.literal('record'), ...place, record: v.looseObject({}) }),
  v.object({ kind: v.literal('gap'), ...place, at: v.number(), reason: v.string() }),
  v.object({ kind: v.literal('anchor'), node: v.string(), ...signedSchema.entries }),
]);

/** GET /v1/audit/chain: `next` is for `after` of the next page, null behind the last. */
export const auditChainPageSchema = v.object({ items: v.array(auditItemSchema), next: v.nullable(v.number()) });

export type AuditItem = v.InferOutput<typeof auditItemSchema>;
export type AuditChainPage = v.InferOutput<typeof auditChainPageSchema>;

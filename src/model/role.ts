import * as v from 'valibot';
import { resourceName } from './resources.ts';

/** Mesos' role of those who name none. */
export const defaultRole = '*';

/** `*`, or a name with levels as Mesos has them: `eng`, `eng/ci`. */
export const roleNameSchema = v.pipe(
  v.string(),
  v.maxLength(255),
  v.regex(
    /^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,62}(\/[A-Za-z0-9][A-Za-z0-9._-]{0,62}){0,7})$/,
    'expected a role as eng or eng/ci, or *',
  ),
);

const amounts = v.pipe(
  v.record(
    resourceName,
    v.pipe(v.number(), v.finite(), v.minValue(0, 'expected 0 or more'), v.maxValue(1e9, 'expected at most 1e9')),
  ),
  v.maxEntries(64, 'expected at most 64 resources'),
);

/** What a role gets beside others: cores, MB of `mem` and `disk`, and units of resources with a name of their own. */
export const roleSpecSchema = v.strictObject({
  /** The role, where the name of the document cannot be it. */
  role: v.optional(roleNameSchema),
  /** A role of weight 2 gets twice the share of one of weight 1. */
  weight: v.optional(v.pipe(v.number(), v.minValue(0.001, 'expected 0.001 or more'), v.maxValue(1000)), 1),
  quota: v.optional(
    v.strictObject({
      /** Kept for it, and for those below it, whether or not it uses them. */
      guarantees: v.optional(amounts, {}),
      /** It never holds more. */
      limits: v.optional(amounts, {}),
    }),
    {},
  ),
});

export type RoleSpec = v.InferOutput<typeof roleSpecSchema>;

/** The role and those above it, itself first: `eng/ci`, `eng`. */
export function withAncestors(role: string): string[] {
  const parts = role.split('/');
  return parts.map((_, i) => parts.slice(0, parts.length - i).join('/'));
}

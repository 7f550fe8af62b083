import { Buffer } from 'node:buffer';
import type { Rate } from '../base/token-bucket.ts';
import type { Findings, PolicyOf } from '../model/document.ts';
import type { WorkloadIdentity } from '../model/policy.ts';
import type { RateLimitSpec } from '../model/rate-limit.ts';
import { selects } from '../model/selector.ts';

type RateLimit = PolicyOf<'RateLimit'>;

/** One RateLimit, ready to be carried out. */
export interface Limit {
  /** `<namespace>/<name>` */
  readonly name: string;
  /** With all that it says of buckets: the same after a push that did not change it, so that it keeps them. */
  readonly id: string;
  readonly rate: Rate;
  readonly per: RateLimitSpec['per'];
  /** The lower-case name as bytes; empty unless `per` is `header`. */
  readonly header: Uint8Array;
  readonly enforce: boolean;
}

/** One revision of all RateLimits: a value that is swapped whole. */
export interface CompiledLimits {
  /** Those that select a workload; the same array for the same object. */
  forWorkload(workload: WorkloadIdentity): readonly Limit[];
  /** The ids of those that are not enforced. */
  readonly shadows: ReadonlySet<string>;
}

const none: readonly Limit[] = [];
export const noLimits: CompiledLimits = { forWorkload: () => none, shadows: new Set() };

export function compileLimits(documents: readonly RateLimit[], rootNamespace: string): CompiledLimits {
  if (documents.length === 0) return noLimits;
  const all = documents.map(document => ({ document, limit: compileLimit(document) }));
  const kept = new WeakMap<WorkloadIdentity, readonly Limit[]>();
  return {
    shadows: new Set(all.flatMap(({ limit }) => (limit.enforce ? [] : [limit.id]))),
    forWorkload(workload) {
      const known = kept.get(workload);
      if (known !== undefined) return known;
      const limits = all.flatMap(({ document, limit }) => (selects(document, workload, rootNamespace) ? [limit] : []));
      kept.set(workload, limits);
      return limits;
    },
  };
}

function compileLimit({ metadata, spec }: RateLimit): Limit {
  const { tokenBucket, per, header = '', enforce } = spec;
  const { maxTokens, tokensPerFill, fillInterval } = tokenBucket;
  const name = `${metadata.namespace}/${metadata.name}`;
  return {
    name,
    id: [name, maxTokens, tokensPerFill, fillInterval, per, header].join(' '),
    rate: { burst: maxTokens, perSecond: (tokensPerFill * 1000) / fillInterval },
    per,
    header: Buffer.from(header.toLowerCase(), 'latin1'),
    enforce,
  };
}

/** What the shape of a RateLimit does not say. `servesTcp` tells that a workload it selects has a TCP port. */
export function checkRateLimit({ spec }: RateLimit, { servesTcp }: { readonly servesTcp: boolean }): Findings {
  const { maxTokens, tokensPerFill } = spec.tokenBucket;
  const warnings: string[] = [];
  if (tokensPerFill > maxTokens) {
    warnings.push('spec.tokenBucket.tokensPerFill: more than maxTokens, which is all that the bucket holds');
  }
  if (servesTcp) warnings.push('spec.selector: selects a workload with a TCP port, whose connections are not counted');
  return { errors: [], warnings };
}

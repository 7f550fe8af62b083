import * as v from 'valibot';
import { unsupported } from '../base/shape.ts';

/** Istio's `selector`: every label has to be the workload's; absent: every workload. */
export const selectorSchema = v.optional(
  v.strictObject({ matchLabels: v.optional(v.record(v.string(), v.pipe(v.string(), v.maxLength(253))), {}) }),
);

/** Istio's way to choose workloads by the Gateway API. */
export const targetAdvice = unsupported('there is no Gateway API here; choose workloads by selector.matchLabels');

/** A policy document as far as it says whom it is for. */
export interface Selecting {
  readonly metadata: { readonly namespace: string };
  readonly spec: { readonly selector?: v.InferOutput<typeof selectorSchema> };
}

/** A workload as far as policies are chosen by it. */
export interface Selectable {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Does a policy hold for a workload? In its own namespace, or in all from the root namespace, where every label is the workload's. */
export function selects(policy: Selecting, workload: Selectable, rootNamespace: string): boolean {
  const { namespace } = policy.metadata;
  if (namespace !== workload.namespace && namespace !== rootNamespace) return false;
  return Object.entries(policy.spec.selector?.matchLabels ?? {}).every(
    ([name, value]) => Object.hasOwn(workload.labels, name) && workload.labels[name] === value,
  );
}

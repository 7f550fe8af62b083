import type { Resources } from './resources.ts';

/** What one node has free, held for one scheduler until it answers (Mesos' Offer). */
export interface Offer {
  readonly id: string;
  readonly node: string;
  readonly hostname: string;
  readonly resources: Resources;
  /** `arch`, `profile`, `node` and the labels that the operator gave. */
  readonly attributes: Readonly<Record<string, string>>;
}

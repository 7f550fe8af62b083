import type { PolicyView } from '../model/api.ts';
import type { ShadowReport } from '../model/message.ts';

type Tally = NonNullable<PolicyView['shadow']>;

/** What the nodes say that policies which decide nothing would have done; since these came, or the nodes' agents started. */
export interface Shadows {
  onReport(node: string, report: ShadowReport): void;
  /** Of all nodes together; undefined where none speaks of the policy as it is now. */
  of(policy: Pick<PolicyView, 'kind' | 'namespace' | 'name' | 'revision'>): Tally | undefined;
}

export function makeShadows(): Shadows {
  const reports = new Map<string, ShadowReport>();
  return {
    onReport(node, report) {
      if (report.counts.length === 0) reports.delete(node);
      else reports.set(node, report);
    },
    of({ kind, namespace, name, revision }) {
      const policy = `${namespace}/${name}`;
      const counts = [...reports.values()]
        // an older one speaks of what the policy was before
        .filter(report => report.revision >= revision)
        .flatMap(report => report.counts.filter(count => count.kind === kind && count.policy === policy));
      if (counts.length === 0) return undefined;
      const sum = (of: keyof Tally) => counts.reduce((total, count) => total + count[of], 0);
      return { calls: sum('calls'), allowed: sum('allowed'), denied: sum('denied'), audited: sum('audited') };
    },
  };
}

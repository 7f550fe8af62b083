import type { DestinationRuleSpec } from '../model/destination-rule.ts';
import type { DestinationRule, Findings } from '../model/document.ts';
import type { ServiceRef } from '../model/ids.ts';
import { meshDomain } from '../model/service.ts';
import { type ClusterSettings, clusterSettings, defaultCluster } from './cluster.ts';
import { serviceOfHost } from './service-of-host.ts';

/** All DestinationRules, ready to be asked. */
export interface Destinations {
  /**
   * How callers of a namespace use the endpoints of a service, or of one subset ('' for all); undefined for a subset that no rule has.
   * As in Istio one rule holds: the most specific of the callers' namespace, else of the service's, else of the root namespace.
   */
  settingsFor(service: ServiceRef, callerNamespace: string, subset: string): ClusterSettings | undefined;
}

export const noDestinations: Destinations = compileDestinations([], '');

/** `*` stands for every name, or every namespace. */
type HostPattern = ServiceRef;

interface Entry {
  readonly host: HostPattern;
  readonly namespace: string;
  readonly exported: boolean;
  readonly spec: DestinationRuleSpec;
}

/** Rules that are for one host in one namespace hold together: their subsets are joined, the first traffic policy counts. */
export function compileDestinations(rules: readonly DestinationRule[], rootNamespace: string): Destinations {
  const entries = new Map<string, Entry>();
  for (const rule of [...rules].sort(byName)) {
    const entry = entryOf(rule);
    if (entry === undefined) continue;
    const { host, namespace, exported } = entry;
    const key = `${namespace} ${host.name}.${host.namespace} ${exported}`;
    const before = entries.get(key);
    entries.set(key, before === undefined ? entry : { ...entry, spec: joined(before.spec, entry.spec) });
  }
  const all = [...entries.values()];

  function find(namespace: string, service: ServiceRef, mayUse: (entry: Entry) => boolean): Entry | undefined {
    return all
      .filter(entry => entry.namespace === namespace && matches(entry.host, service) && mayUse(entry))
      .sort((a, b) => specificity(b.host) - specificity(a.host))[0];
  }

  return {
    settingsFor(service, callerNamespace, subset) {
      // what the root namespace says to all must not hide what a service's own namespace says
      const isOwn = (entry: Entry) => callerNamespace !== rootNamespace || !entry.exported;
      const isExported = ({ exported }: Entry) => exported;
      const entry =
        find(callerNamespace, service, isOwn) ??
        find(service.namespace, service, isExported) ??
        find(rootNamespace, service, isExported);
      if (entry !== undefined) return clusterSettings(entry.spec, subset);
      return subset === '' ? defaultCluster : undefined;
    },
  };
}

/** What the shape of a rule does not say. */
export function checkDestinationRule({ spec, metadata }: DestinationRule): Findings {
  if (patternOf(spec.host, metadata.namespace) !== undefined) return { errors: [], warnings: [] };
  const expected = `a service as reviews, reviews.default.${meshDomain} or reviews.default.svc.cluster.local, or *.default.${meshDomain}`;
  return { errors: [`spec.host: expected ${expected}, got ${JSON.stringify(spec.host)}`], warnings: [] };
}

const wildcard = new RegExp(`^\\*(?:\\.([a-z0-9-]{1,63}))?(?:\\.${meshDomain}|\\.svc|\\.svc\\.cluster\\.local)$`);

function patternOf(host: string, namespace: string): HostPattern | undefined {
  if (host === '*' || host === '*.local' || host === '*.cluster.local') return { name: '*', namespace: '*' };
  const match = wildcard.exec(host);
  if (match === null) return host.includes(':') ? undefined : serviceOfHost(host, namespace);
  return { name: '*', namespace: match[1] ?? '*' };
}

function entryOf({ metadata: { namespace }, spec }: DestinationRule): Entry | undefined {
  const host = patternOf(spec.host, namespace);
  const { exportTo = [] } = spec;
  return host && { host, namespace, exported: exportTo.length === 0 || exportTo.includes('*'), spec };
}

function joined(first: DestinationRuleSpec, second: DestinationRuleSpec): DestinationRuleSpec {
  const known = new Set(first.subsets.map(({ name }) => name));
  return {
    ...first,
    trafficPolicy: first.trafficPolicy ?? second.trafficPolicy,
    subsets: [...first.subsets, ...second.subsets.filter(({ name }) => !known.has(name))],
  };
}

function matches(host: HostPattern, { name, namespace }: ServiceRef): boolean {
  return (host.name === '*' || host.name === name) && (host.namespace === '*' || host.namespace === namespace);
}

function specificity(host: HostPattern): number {
  return (host.name === '*' ? 0 : 2) + (host.namespace === '*' ? 0 : 1);
}

function byName(a: DestinationRule, b: DestinationRule): number {
  return a.metadata.name < b.metadata.name ? -1 : 1;
}

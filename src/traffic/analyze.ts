import { nearest } from '../base/nearest.ts';
import { type DestinationRule, describeDocument, type Job, labelsOf } from '../model/document.ts';
import { frameworkNamespace } from '../model/framework.ts';
import { parseServiceRef, type ServiceRef, serviceKey } from '../model/ids.ts';
import { upstreamOf } from '../model/job.ts';
import type { DestinationRef, HttpRoute } from '../model/virtual-service.ts';
import type { Warning } from '../model/warning.ts';
import { compileDestinations, type Destinations } from './destinations.ts';
import { serviceOfHost } from './service-of-host.ts';
import type { VirtualService } from './service-routes.ts';

/** What VirtualServices and DestinationRules are looked at in. */
export interface TrafficMesh {
  readonly virtualServices: readonly VirtualService[];
  readonly destinationRules: readonly DestinationRule[];
  /** Where there is none at all, nothing is said that hangs on them. */
  readonly jobs: readonly Job[];
  readonly rootNamespace: string;
  /** The documents, as `describeDocument` calls them, that are spoken of; absent: all. */
  readonly only?: ReadonlySet<string>;
}

type Place = Pick<Warning, 'document' | 'path'>;

/** Warns of hosts, upstreams, subsets and endpoints that are not there. */
export function analyzeTraffic(mesh: TrafficMesh): Warning[] {
  const services = servicesOf(mesh.jobs);
  const destinations = compileDestinations(mesh.destinationRules, mesh.rootNamespace);
  const missing = (service: ServiceRef, place: Place): Warning[] => {
    const key = serviceKey(service);
    // what frameworks serve is known only while it runs
    if (mesh.jobs.length === 0 || services.has(key) || service.namespace === frameworkNamespace) return [];
    const meant = nearest(key, [...services.keys()]);
    const fix = meant === undefined ? 'correct the name, or apply the job' : `did you mean ${meant}? Or apply the job`;
    return [{ code: 'NO_SUCH_SERVICE', ...place, reason: `no job serves ${key}`, fix }];
  };
  const unknown = (host: string, namespace: string, place: Place): Warning[] => {
    const service = serviceOfHost(host, namespace);
    return service === undefined ? [] : missing(service, place);
  };
  const isMeant = (document: VirtualService | DestinationRule | Job) =>
    mesh.only?.has(describeDocument(document)) ?? true;
  return oncePerCause([
    ...mesh.jobs.filter(isMeant).flatMap(job =>
      job.spec.upstreams.flatMap((upstream, i) =>
        missing(parseServiceRef(upstreamOf(upstream).service, job.metadata.namespace), {
          document: describeDocument(job),
          path: `spec.upstreams[${i}]`,
        }),
      ),
    ),
    ...mesh.destinationRules
      .filter(isMeant)
      .flatMap(rule =>
        unknown(rule.spec.host, rule.metadata.namespace, { document: describeDocument(rule), path: 'spec.host' }),
      ),
    ...mesh.virtualServices.filter(isMeant).flatMap(document => {
      const { namespace } = document.metadata;
      const name = describeDocument(document);
      return [
        ...document.spec.hosts.flatMap((host, i) =>
          unknown(host, namespace, { document: name, path: `spec.hosts[${i}]` }),
        ),
        ...document.spec.http.flatMap((http, i) =>
          destinationsIn(http, `spec.http[${i}]`).flatMap(({ path, destination, weight }) => {
            const place = { document: name, path };
            const absent = unknown(destination.host, namespace, { ...place, path: `${path}.host` });
            if (absent.length > 0 || weight === 0) return absent;
            return subsetWarnings(destination, namespace, place, services, destinations);
          }),
        ),
      ];
    }),
  ]);
}

/** A host that is not there is told once for each document, where it stands first. */
function oncePerCause(warnings: readonly Warning[]): Warning[] {
  const firsts = new Map<string, { readonly warning: Warning; places: number }>();
  for (const warning of warnings) {
    const { code, document, path, reason } = warning;
    const key = [code, document, reason, ...(code === 'NO_SUCH_SERVICE' ? [] : [path])].join('\n');
    const first = firsts.get(key);
    if (first === undefined) firsts.set(key, { warning, places: 1 });
    else first.places++;
  }
  return [...firsts.values()].map(({ warning, places }) =>
    places === 1 ? warning : { ...warning, reason: `${warning.reason}, which is named ${places} times here` },
  );
}

/** The labels of the tasks of each service. */
function servicesOf(jobs: readonly Job[]): Map<string, Readonly<Record<string, string>>[]> {
  const services = new Map<string, Readonly<Record<string, string>>[]>();
  for (const job of jobs) {
    const { service } = job.spec;
    if (service === undefined) continue;
    const key = serviceKey({ name: service.name ?? job.metadata.name, namespace: job.metadata.namespace });
    services.set(key, [...(services.get(key) ?? []), labelsOf(job)]);
  }
  return services;
}

interface PlacedDestination {
  readonly path: string;
  readonly destination: DestinationRef;
  readonly weight?: number | undefined;
}

function destinationsIn({ route = [], mirror, mirrors = [] }: HttpRoute, path: string): PlacedDestination[] {
  return [
    ...route.map(({ destination, weight }, i) => ({ path: `${path}.route[${i}].destination`, destination, weight })),
    ...(mirror === undefined ? [] : [{ path: `${path}.mirror`, destination: mirror }]),
    ...mirrors.map(({ destination }, i) => ({ path: `${path}.mirrors[${i}].destination`, destination })),
  ];
}

function subsetWarnings(
  { host, subset }: DestinationRef,
  namespace: string,
  { document, path }: Place,
  services: ReadonlyMap<string, readonly Readonly<Record<string, string>>[]>,
  destinations: Destinations,
): Warning[] {
  const service: ServiceRef | undefined = serviceOfHost(host, namespace);
  if (service === undefined || subset === undefined) return [];
  const place = { document, path: `${path}.subset` };
  const settings = destinations.settingsFor(service, namespace, subset);
  if (settings === undefined) {
    const reason = `no DestinationRule for ${serviceKey(service)} has a subset ${subset}: such calls get 503`;
    return [{ code: 'NO_SUCH_SUBSET', ...place, reason, fix: 'add the subset to a DestinationRule' }];
  }
  const wanted = Object.entries(settings.labels);
  const tasks = services.get(serviceKey(service));
  if (tasks === undefined || tasks.some(labels => wanted.every(([name, value]) => labels[name] === value))) return [];
  const reason = `no job that serves ${serviceKey(service)} has ${wanted.map(pair => pair.join('=')).join(', ')}: such calls get 503`;
  return [{ code: 'SUBSET_WITHOUT_ENDPOINTS', ...place, reason, fix: 'label the job, or give the subset no weight' }];
}

import type { Clock } from '../base/clock.ts';
import { Gate } from '../base/gate.ts';
import { printSpiffeId } from '../model/identity.ts';
import { serviceKey } from '../model/ids.ts';
import type { PortProtocol } from '../model/job.ts';
import type { Endpoint, ServiceDocument } from '../model/service.ts';
import { endpointName, liveStates } from '../model/task.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import type { FleetNode } from './fleet.ts';
import type { Outgoing } from './outgoing.ts';
import { nextRevision } from './revisions.ts';

/** Signed service documents: which tasks answer for a service, and where. */
export interface Services {
  /**
   * Publishes what changed since the last time; `all` says everything again: after a start, and to renew expiry. A service that has no
   * tasks any more is published once more, without endpoints. True when something was published.
   */
  publish(options?: { readonly all: boolean }): Promise<boolean>;
  /** The services that tasks of now stand behind. */
  list(): Promise<ServiceDocument[]>;
  /** Revisions by service key, for the manifest. */
  revisions(): Readonly<Record<string, number>>;
}

interface Published {
  readonly revision: number;
  readonly document: ServiceDocument;
}

export function makeServices(
  parts: {
    readonly store: Store;
    readonly outgoing: Pick<Outgoing, 'service'>;
    readonly nodeOf: (id: string) => FleetNode | undefined;
    /** How much of the calls the endpoints of a node get. */
    readonly weightOf: (node: string) => number;
    readonly clock: Clock;
  },
  settings: { readonly trustDomain: string },
): Services {
  const { store, outgoing, nodeOf, weightOf, clock } = parts;
  const gate = new Gate();
  const published = new Map<string, Published>();

  async function list(): Promise<ServiceDocument[]> {
    const services = new Map<string, ServiceDocument>();
    for (const task of await store.tasks.list({ states: liveStates })) {
      const { spec } = task;
      if (spec?.service === undefined) continue;
      const ref = { name: spec.service.name, namespace: spec.namespace };
      const known = services.get(serviceKey(ref));
      const fresh = { protocol: protocolOf(task), spiffeId: spiffeIdOf(task), endpoints: [], labelSets: [] };
      const document = known ?? { ...ref, ...fresh };
      const endpoint = endpointOf(task);
      services.set(serviceKey(ref), endpoint ? withEndpoint(document, endpoint, spec.labels) : document);
    }
    return [...services.values()];
  }

  /** Those of now, and without endpoints those that were published before; when all is said again, what was empty already is forgotten. */
  async function listForPublishing(all: boolean): Promise<Map<string, ServiceDocument>> {
    const services = new Map((await list()).map(document => [serviceKey(document), document]));
    for (const [key, { document }] of published) {
      if (services.has(key)) continue;
      if (all && document.endpoints.length === 0) published.delete(key);
      else services.set(key, { ...document, endpoints: [], labelSets: [] });
    }
    return services;
  }

  async function publish(key: string, document: ServiceDocument, again: boolean): Promise<boolean> {
    const last = published.get(key);
    const isSame = last !== undefined && JSON.stringify(last.document) === JSON.stringify(document);
    if (isSame && !again) return false;
    const revision = isSame ? last.revision : nextRevision(last?.revision ?? 0, clock);
    await outgoing.service(key, revision, document);
    published.set(key, { revision, document });
    return true;
  }

  function endpointOf(task: TaskRecord): Omit<Endpoint, 'labelSet'> | undefined {
    const node = task.node === null ? undefined : nodeOf(task.node);
    const birth = node?.state === 'quarantined' ? undefined : node?.birth;
    const serverName = task.spec === null ? undefined : endpointName(task.spec);
    const serves = task.state === 'TASK_RUNNING' && task.ready && !task.stopping;
    if (!serves || !birth || task.node === null || serverName === undefined) return undefined;
    const { address, meshPort: port } = birth;
    return { task: task.id, node: task.node, address, port, serverName, weight: weightOf(task.node) };
  }

  function spiffeIdOf({ namespace, spec }: TaskRecord): string {
    const serviceAccount = spec?.serviceAccount ?? 'default';
    return printSpiffeId({ kind: 'workload', trustDomain: settings.trustDomain, namespace, serviceAccount });
  }

  return {
    list,
    publish: (options = { all: false }) =>
      gate.run(async () => {
        let changed = false;
        for (const [key, document] of await listForPublishing(options.all)) {
          changed = (await publish(key, document, options.all)) || changed;
        }
        return changed;
      }),
    revisions: () => Object.fromEntries([...published].map(([key, { revision }]) => [key, revision])),
  };
}

function withEndpoint(
  { endpoints, labelSets, ...document }: ServiceDocument,
  endpoint: Omit<Endpoint, 'labelSet'>,
  labels: Readonly<Record<string, string>>,
): ServiceDocument {
  const text = JSON.stringify(labels);
  const known = labelSets.findIndex(set => JSON.stringify(set) === text);
  const labelSet = known < 0 ? labelSets.length : known;
  return {
    ...document,
    endpoints: [...endpoints, { ...endpoint, labelSet }],
    labelSets: known < 0 ? [...labelSets, labels] : labelSets,
  };
}

function protocolOf({ spec }: TaskRecord): PortProtocol {
  return spec?.ports.find(port => port.name === spec.service?.port)?.protocol ?? 'http';
}

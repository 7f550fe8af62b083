import { Buffer } from 'node:buffer';
import { createHmac } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import { Cell } from '../base/cell.ts';
import { clientTlsOptions, type TlsIdentity, type TlsVersion } from '../identity/contexts.ts';
import type { TrustBundle } from '../identity/verify.ts';
import { printSpiffeId } from '../model/identity.ts';
import { parseServiceRef, serviceKey } from '../model/ids.ts';
import { endpointName, type TaskSpec } from '../model/task.ts';
import type { LocalWorkload, PublishedPort, ServedEndpoint } from '../proxy/workload.ts';
import type { Certificates } from './certificates.ts';

/** What the mesh proxy knows of this node's tasks. */
export interface Workloads {
  /** By task. */
  readonly known: Cell<ReadonlyMap<string, LocalWorkload>>;
  /** These tasks are here now. */
  update(tasks: readonly { readonly spec: TaskSpec; readonly ready: boolean }[]): void;
  /** A certificate has come or was renewed. */
  onIssued(spiffeId: string): void;
  spiffeIdOf(spec: Pick<TaskSpec, 'namespace' | 'serviceAccount'>): string;
  /** Services that the tasks call, as `<name>.<namespace>`. */
  upstreamsOf(spec: TaskSpec): ReadonlySet<string>;
}

/** What a task proves its calls with; the same over restarts of the agent, since the task keeps its environment. */
export function callerSecret(taskSecret: string, task: string): string {
  return createHmac('sha256', Buffer.from(taskSecret, 'base64url'))
    .update(`mesolite/v1/caller\n${task}`)
    .digest('base64url');
}

export function makeWorkloads(
  parts: { readonly certificates: () => Certificates; readonly bundle: () => TrustBundle },
  settings: { readonly trustDomain: string; readonly taskSecret: string; readonly minTls?: TlsVersion | undefined },
): Workloads {
  const { certificates, bundle } = parts;
  const known = new Cell<ReadonlyMap<string, LocalWorkload>>(new Map());
  const contexts = new Map<string, Cell<SecureContext>>();
  let present: readonly { readonly spec: TaskSpec; readonly ready: boolean }[] = [];
  /** Of those that are known, what each was made of: a thousand tasks that come one by one are not all made a thousand times. */
  let ready: ReadonlyMap<string, boolean> = new Map();

  const minVersion = settings.minTls ?? 'TLSv1.3';
  const tlsOptions = (identity: TlsIdentity) => clientTlsOptions(identity, bundle(), 'tls', { minVersion });

  function contextOf(spiffeId: string): Cell<SecureContext> | undefined {
    const cached = contexts.get(spiffeId);
    if (cached !== undefined) return cached;
    const identity = certificates().get(spiffeId);
    if (identity === undefined) return undefined;
    const context = new Cell(createSecureContext(tlsOptions(identity)));
    contexts.set(spiffeId, context);
    return context;
  }

  function spiffeIdOf({ namespace, serviceAccount }: Pick<TaskSpec, 'namespace' | 'serviceAccount'>): string {
    return printSpiffeId({ kind: 'workload', trustDomain: settings.trustDomain, namespace, serviceAccount });
  }

  function upstreamsOf({ upstreams, namespace }: TaskSpec): ReadonlySet<string> {
    return new Set(upstreams.map(upstream => serviceKey(parseServiceRef(upstream, namespace))));
  }

  function toWorkload(spec: TaskSpec, ready: boolean, tls: Cell<SecureContext>): LocalWorkload {
    const spiffeId = spiffeIdOf(spec);
    const { id: task, namespace, serviceAccount, labels } = spec;
    return {
      task,
      identity: { namespace, serviceAccount, labels },
      spiffeId,
      tls,
      ...(ready && { endpoint: endpointOf(spec) }),
      callerSecret: callerSecret(settings.taskSecret, task),
      upstreams: upstreamsOf(spec),
      published: publishedOf(spec, ready),
      localPorts: (spec.localPorts ?? []).map(({ service, port }) => ({
        port,
        upstream: serviceKey(parseServiceRef(service, namespace)),
      })),
    };
  }

  /** Of those whose certificate has come. The object of before where nothing changed: for the proxy a new object is a changed task. */
  function publish(): void {
    const next = new Map<string, LocalWorkload>();
    for (const { spec, ready: isReady } of present) {
      const before = known.value.get(spec.id);
      const tls = contextOf(spiffeIdOf(spec));
      if (tls === undefined) continue;
      const isKnown = before?.tls === tls && ready.get(spec.id) === isReady;
      const made = isKnown ? before : toWorkload(spec, isReady, tls);
      const isSame = before?.tls === tls && isServed(before) === isServed(made);
      next.set(spec.id, isSame ? before : made);
    }
    ready = new Map(present.map(({ spec, ready: isReady }) => [spec.id, isReady]));
    known.set(next);
  }

  return {
    known,
    update(tasks) {
      present = tasks;
      const needed = new Set(tasks.map(({ spec }) => spiffeIdOf(spec)));
      for (const spiffeId of contexts.keys()) if (!needed.has(spiffeId)) contexts.delete(spiffeId);
      publish();
    },
    onIssued(spiffeId) {
      const identity = certificates().get(spiffeId);
      if (identity === undefined) return;
      contexts.get(spiffeId)?.set(createSecureContext(tlsOptions(identity)));
      publish();
    },
    spiffeIdOf,
    upstreamsOf,
  };
}

function isServed({ endpoint, published }: LocalWorkload): boolean {
  return endpoint !== undefined || published?.some(({ application }) => application !== undefined) === true;
}

function publishedOf(spec: TaskSpec, ready: boolean): PublishedPort[] {
  const service = serviceKey({ name: spec.service?.name ?? spec.job, namespace: spec.namespace });
  return spec.ports.flatMap(({ number, protocol, publish }) => {
    if (publish === undefined) return [];
    return [{ port: publish, ...(ready && { application: { service, host: '127.0.0.1', port: number, protocol } }) }];
  });
}

function endpointOf(spec: TaskSpec): ServedEndpoint | undefined {
  const serverName = endpointName(spec);
  const port = spec.ports.find(each => each.name === spec.service?.port);
  if (serverName === undefined || spec.service === undefined || port === undefined) return undefined;
  const service = serviceKey({ name: spec.service.name, namespace: spec.namespace });
  return { service, serverName, host: '127.0.0.1', port: port.number, protocol: port.protocol };
}

import type { SecureContext } from 'node:tls';
import type { Cell } from '../base/cell.ts';
import type { PortProtocol } from '../model/job.ts';
import type { WorkloadIdentity } from '../model/policy.ts';

/** Where a task's process listens, and what it speaks there: HTTP/1.1, HTTP/2 with prior knowledge, or what the proxy does not read. */
export interface Application {
  /** `<name>.<namespace>` of its service, or of its job where it is none. */
  readonly service: string;
  readonly host: string;
  readonly port: number;
  readonly protocol: PortProtocol;
}

/** What a task serves to the mesh. */
export interface ServedEndpoint extends Application {
  /** What callers ask for by SNI (`endpointName` of model/task.ts). */
  readonly serverName: string;
}

/** A port of the node on which a task is served to clients outside of the mesh. */
export interface PublishedPort {
  readonly port: number;
  /** Absent while the task is not ready. */
  readonly application?: Application | undefined;
}

/** Whom a connection is for. */
export interface Served {
  readonly workload: LocalWorkload;
  /** Absent while it takes no calls. */
  readonly application: Application | undefined;
  /** As policies know it: that of the task's process, or the published one. */
  readonly port: number;
}

/** A task of this node as the mesh knows it. A changed task is a new object. */
export interface LocalWorkload {
  readonly task: string;
  readonly identity: WorkloadIdentity;
  readonly spiffeId: string;
  /**
   * Its certificate and key with the trust domain's roots, for serving and for calling; swapped when it rotates.
   * Open connections keep what they were opened with. A task keeps its cell for life: another cell means another identity,
   * whose calls share no connection with the old one's.
   */
  readonly tls: Cell<SecureContext>;
  /** Absent for a task that only calls others. */
  readonly endpoint?: ServedEndpoint | undefined;
  /** What the task shows to the outbound proxy, with its id as the user name. */
  readonly callerSecret: string;
  /** `<name>.<namespace>` of each service that it may call. */
  readonly upstreams: ReadonlySet<string>;
  /** Ports of the node for clients outside of the mesh. */
  readonly published?: readonly PublishedPort[] | undefined;
  /** Ports on loopback that lead to one upstream each, with this task as the caller of whoever connects. */
  readonly localPorts?: readonly { readonly port: number; readonly upstream: string }[] | undefined;
}

/** The workloads of the node, found by task and by server name; made anew at each swap. */
export interface WorkloadIndex {
  readonly byTask: ReadonlyMap<string, LocalWorkload>;
  readonly byServerName: ReadonlyMap<string, LocalWorkload>;
}

export function indexWorkloads(byTask: ReadonlyMap<string, LocalWorkload>): WorkloadIndex {
  const served = [...byTask.values()].flatMap(workload =>
    workload.endpoint === undefined ? [] : [[workload.endpoint.serverName, workload] as const],
  );
  return { byTask, byServerName: new Map(served) };
}

/** Finds the workload that a server name means. */
export function servedByName(serverName: string): (index: WorkloadIndex) => Served | undefined {
  return ({ byServerName }) => {
    const workload = byServerName.get(serverName);
    const application = workload?.endpoint;
    return workload && { workload, application, port: application?.port ?? 0 };
  };
}

/** Finds the task that has published a port. */
export function servedOnPort(task: string, port: number): (index: WorkloadIndex) => Served | undefined {
  return ({ byTask }) => {
    const workload = byTask.get(task);
    const application = workload?.published?.find(each => each.port === port)?.application;
    return workload && { workload, application, port };
  };
}

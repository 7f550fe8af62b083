import type { SecureContext } from 'node:tls';
import type { Cell } from '../base/cell.ts';
import type { PortProtocol } from '../model/job.ts';
import type { WorkloadIdentity } from '../model/policy.ts';

/** What a task serves to the mesh. */
export interface ServedEndpoint {
  /** `<name>.<namespace>` of its service. */
  readonly service: string;
  /** What callers ask for by SNI (`endpointName` of model/task.ts). */
  readonly serverName: string;
  /** Where the task's process listens, and what it speaks there: HTTP/1.1, HTTP/2 with prior knowledge, or what the proxy does not read. */
  readonly host: string;
  readonly port: number;
  readonly protocol: PortProtocol;
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

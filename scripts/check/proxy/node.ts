/** A process that is one node's proxy, led over IPC: `NodeOrder` comes, `NodeReport` goes. */
import { createSecureContext } from 'node:tls';
import { Cell } from '../../../src/base/cell.ts';
import type { ServiceDocument } from '../../../src/model/service.ts';
import type { LocalWorkload } from '../../../src/proxy/workload.ts';
import { byKey, serverNameOf, spiffe, startNode, type TestNode } from '../../../test/fixtures/proxy-node.ts';
import { policyOfRevision } from './verdicts.ts';

export interface WorkloadOrder {
  readonly account: string;
  readonly keyPem: string;
  readonly chainPem: string;
  readonly rootPem: string;
  /** Where its application listens; absent for one that only calls. */
  readonly appPort?: number;
  readonly upstreams: readonly string[];
}

export type NodeOrder =
  | { readonly kind: 'start'; readonly workload: WorkloadOrder; readonly revision: number }
  | { readonly kind: 'policy'; readonly revision: number }
  | { readonly kind: 'services'; readonly services: readonly ServiceDocument[] }
  | { readonly kind: 'memory' }
  | { readonly kind: 'stop' };

export type NodeReport =
  | { readonly kind: 'started'; readonly meshPort: number; readonly outboundPort: number }
  | { readonly kind: 'policy'; readonly revision: number }
  | { readonly kind: 'memory'; readonly rssMb: number; readonly cpuMs: number };

let node: TestNode | undefined;

function workloadOf({ account, keyPem, chainPem, rootPem, appPort, upstreams }: WorkloadOrder): LocalWorkload {
  const served = { service: `${account}.default`, serverName: serverNameOf(account), host: '127.0.0.1' } as const;
  return {
    task: `${account}-1`,
    identity: { namespace: 'default', serviceAccount: account, labels: { app: account } },
    spiffeId: spiffe(account),
    tls: new Cell(createSecureContext({ key: keyPem, cert: chainPem, ca: rootPem, minVersion: 'TLSv1.3' })),
    endpoint: appPort === undefined ? undefined : { ...served, port: appPort, protocol: 'http' },
    callerSecret: `secret-of-${account}`,
    upstreams: new Set(upstreams),
  };
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function obey(order: NodeOrder): Promise<NodeReport | undefined> {
  switch (order.kind) {
    case 'start': {
      node = await startNode(
        { teardown: () => {} },
        { workloads: [workloadOf(order.workload)], policy: policyOfRevision(order.revision) },
      );
      return { kind: 'started', meshPort: node.running.meshPort, outboundPort: node.running.outboundPort };
    }
    case 'policy':
      node?.policy.set(policyOfRevision(order.revision));
      return { kind: 'policy', revision: order.revision };
    case 'services':
      node?.services.set(byKey(order.services));
      return undefined;
    case 'memory':
      // the fixture keeps them all for tests
      if (node !== undefined) node.records.length = 0;
      return { kind: 'memory', rssMb: process.memoryUsage().rss / 2 ** 20, cpuMs: cpuMs() };
    case 'stop':
      await node?.stop();
      process.exit();
      return undefined;
    default:
      return order satisfies never;
  }
}

process.on('message', async (order: NodeOrder) => {
  const report = await obey(order);
  if (report !== undefined) process.send?.(report);
});
process.on('disconnect', () => process.exit());

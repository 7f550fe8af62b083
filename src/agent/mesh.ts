import { type Clock, secondMs } from '../base/clock.ts';
import { newId, systemRandom } from '../device/dice.ts';
import type { Files } from '../device/files.ts';
import { goodCiphers, type TlsIdentity } from '../identity/contexts.ts';
import { printSpiffeId } from '../model/identity.ts';
import type { TaskSpec } from '../model/task.ts';
import type { NodeProxy, ProxyParts, RunningProxy } from '../proxy/node-proxy.ts';
import { makeProxy } from '../proxy/proxy.ts';
import type { Board } from './board.ts';
import { type Certificates, makeCertificates } from './certificates.ts';
import type { NodeClock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import type { MasterLink } from './master-link.ts';
import { makeMeshPeers } from './mesh-peers.ts';
import type { Moments } from './moments.ts';
import { type NodeIdentity, storeIdentity } from './node-identity.ts';
import { makeShadowReport } from './shadow-report.ts';
import type { SignedDocuments } from './signed-documents.ts';
import type { Trust } from './trust.ts';
import { makeWorkloads, type Workloads } from './workloads.ts';

/** How the tasks of this node are called, and call: their certificates, the services that they need, and the proxy. */
export interface Mesh {
  readonly certificates: Certificates;
  readonly workloads: Workloads;
  readonly proxy: NodeProxy;
  /** What this node shows. */
  readonly ownIdentity: TlsIdentity;
  /** Undefined until it listens. */
  readonly listening: RunningProxy | undefined;
  /** Tasks came or went, or may be called or not from now on. */
  onTasks(): void;
  /** As `NodeProxy.start`. */
  listen(...how: Parameters<NodeProxy['start']>): Promise<RunningProxy>;
  /** Settles when the services are read that tasks call, and what was found running serves again: by its health check, so for a second at most. */
  untilServing(): Promise<void>;
  run(signal: AbortSignal): Promise<void>[];
}

type MeshParts = Pick<ProxyParts, 'log' | 'onAccess'> & {
  readonly clock: NodeClock;
  readonly files: Files;
  readonly trust: Trust;
  readonly moments: Moments;
  readonly board: Pick<Board, 'facts'>;
  readonly master: Pick<MasterLink, 'link' | 'sender' | 'isUp'>;
  readonly documents: Pick<SignedDocuments, 'rules' | 'services'>;
  /** Tasks that have not ended, with whether they may be called. */
  readonly liveTasks: () => readonly { readonly spec: TaskSpec; readonly ready: boolean }[];
  /** A new certificate is in force. */
  readonly onIssued: (spiffeId: string) => void;
  readonly inBackground: (what: string, work: Promise<unknown>) => void;
};

export function makeMesh(parts: MeshParts, config: AgentConfig, identity: NodeIdentity): Mesh {
  const { clock, trust, master, liveTasks, inBackground } = parts;
  const { rules, services } = parts.documents;
  const { node, trustDomain, taskSecret } = identity;
  const ownId = printSpiffeId({ kind: 'node', trustDomain, node });
  const certificates = ownCertificates(parts, identity, ownId, spiffeId => {
    workloads.onIssued(spiffeId);
    parts.onIssued(spiffeId);
  });
  const workloads = makeWorkloads(
    { certificates: () => certificates, bundle: () => trust.current.value.bundle },
    { trustDomain, taskSecret, minTls: config.minTls },
  );
  const proxy = proxyOf(parts, workloads, config);
  const shadows = makeShadowReport({
    sender: master.sender,
    clock,
    isUp: master.isUp,
    counts: () => proxy.shadows(),
    revision: () => rules.policy.value.revision,
  });
  let listening: RunningProxy | undefined;

  /** Those that the tasks here call, and those that their calls are routed to. */
  function wantServices(): Promise<void> {
    const wanted = liveTasks().flatMap(({ spec }) => {
      const called = [...workloads.upstreamsOf(spec)];
      return [...called, ...called.flatMap(service => rules.routes.value.routesOf(service, spec)?.services ?? [])];
    });
    return services.want(new Set(wanted));
  }
  rules.routes.watch(() => inBackground('listening to services', wantServices()));

  return {
    certificates,
    workloads,
    proxy,
    get ownIdentity() {
      return certificates.get(ownId) ?? identity;
    },
    get listening() {
      return listening;
    },
    onTasks() {
      const live = liveTasks();
      const spiffeIds = new Set(live.map(({ spec }) => workloads.spiffeIdOf(spec)));
      inBackground('asking for certificates', certificates.want(spiffeIds));
      inBackground('listening to services', wantServices());
      workloads.update(live);
    },
    async listen(...how) {
      listening = await proxy.start(...how);
      return listening;
    },
    async untilServing() {
      await wantServices();
      await untilServed(clock, workloads, liveTasks);
    },
    run: signal => [shadows.run(signal), certificates.run(signal)],
  };
}

/** Settles when each task that serves has its endpoint, or after a second. */
async function untilServed(clock: Clock, { known }: Workloads, liveTasks: MeshParts['liveTasks']): Promise<void> {
  const isServing = () =>
    liveTasks().every(({ spec }) => spec.service === undefined || known.value.get(spec.id)?.endpoint);
  await new Promise<void>(resolve => {
    const done = () => {
      cancel();
      forget();
      resolve();
    };
    const cancel = clock.after(secondMs, done);
    const forget = known.watch(() => isServing() && done());
    if (isServing()) done();
  });
}

/** With the node's own in it. */
function ownCertificates(
  { clock, log, files, trust, moments, master }: MeshParts,
  identity: NodeIdentity,
  ownId: string,
  onIssued: (spiffeId: string) => void,
): Certificates {
  const certificates = makeCertificates({
    sender: master.sender,
    files,
    bundle: () => trust.current.value.bundle,
    moment: moments.peer,
    clock,
    random: systemRandom,
    newId,
    log,
    isUp: master.isUp,
    question: () => clock.question,
    async onIssued(spiffeId, issued) {
      if (spiffeId === ownId) {
        // from now on it is known by the new one; nothing is lost on the way
        master.link.reconnect();
        await storeIdentity(files, { ...identity, ...issued });
      }
      onIssued(spiffeId);
    },
  });
  certificates.put(ownId, identity);
  return certificates;
}

function proxyOf(
  { clock, log, trust, moments, board, documents, onAccess }: MeshParts,
  workloads: Workloads,
  config: AgentConfig,
): NodeProxy {
  return makeProxy(
    {
      clock,
      log,
      random: systemRandom,
      peers: makeMeshPeers({ trust, moments, clock, log }),
      ...documents.rules,
      workloads: workloads.known,
      services: documents.services.known,
      time: () => (clock.known ? clock.now() : undefined),
      onAccess,
    },
    {
      meshHost: config.meshHost,
      meshPort: config.meshPort,
      outboundPort: config.outboundPort,
      publishHost: config.publishHost,
      ...(config.minTls === 'TLSv1.2' && { olderTls: { ciphers: goodCiphers } }),
      bounds: board.facts.profile.proxy,
    },
  );
}

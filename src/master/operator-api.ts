import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { BrokerParts } from '../broker/broker.ts';
import { serverTlsOptions, type TlsIdentity } from '../identity/contexts.ts';
import type { Store } from '../store/store.ts';
import type { ApiFace } from './api/face.ts';
import { listen, portOf } from './api/listen.ts';
import { makeApi } from './api/server.ts';
import { makeApiFace } from './api-face.ts';
import type { Artifacts } from './artifacts.ts';
import type { Changes } from './changes.ts';
import type { MasterConfig } from './config.ts';
import type { Credentials } from './credentials.ts';
import type { Events } from './events.ts';
import { makeExecs } from './execs.ts';
import type { Hearing } from './hearing.ts';
import { makeInstaller } from './installer.ts';
import { makeTokenDesk } from './join-tokens.ts';
import { makeLogFollowers } from './log-followers.ts';
import { makePlainApi } from './mesos/plain-api.ts';
import { makeMetrics } from './metrics.ts';
import type { Nodes } from './nodes.ts';
import type { Operators } from './operators.ts';
import type { Publishing } from './publishing.ts';
import type { Tasks } from './tasks.ts';
import type { Wire } from './wire.ts';
import type { Work } from './work.ts';

/** What operators, frameworks and nodes reach over HTTP. */
export interface OperatorApi {
  readonly port: number;
  close(): Promise<void>;
}

interface OperatorApiParts {
  readonly version: string;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: Events;
  readonly operators: Operators;
  readonly credentials: Credentials;
  readonly nodes: Nodes;
  readonly wire: Wire;
  readonly readPeer: BrokerParts['readPeer'];
  readonly publishing: Publishing;
  readonly tasks: Tasks;
  readonly artifacts: Artifacts;
  readonly work: Work;
  readonly changes: Changes;
  readonly hearing: Hearing;
  /** The port of the API is had. */
  readonly onListening: (port: number) => Promise<void>;
}

/** Listens, once the wire does. Throws START_FAILED. */
export async function openOperatorApi(parts: OperatorApiParts, config: MasterConfig): Promise<OperatorApi> {
  const { version, clock, log, operators, credentials, wire, work } = parts;
  const { authority, server } = credentials;
  const { mesos } = work;
  const { dataDir, programDir, mesosHttp } = config;
  const face = makeFace(parts, () => portOf(api));
  // a node that comes by WebSocket shows its certificate here; operators have none, and their tokens
  const apiTls = (identity: TlsIdentity) =>
    serverTlsOptions(identity, authority.bundle, 'caller', { minVersion: 'TLSv1.2' });
  const roots = () => authority.roots.join('');
  const installer = programDir === undefined ? undefined : makeInstaller({ log, version, programDir, dataDir, roots });
  const install = installer && { installer, clock };
  const api = await makeApi({ face, log, mesos, install, upgrade: wire.upgrade }, apiTls(server.current.value));
  server.current.watch(identity => api.server.setSecureContext(apiTls(identity)));
  const port = await listen(api, config);
  await parts.onListening(port);
  const plain = mesosHttp && (await makePlainApi({ face, mesos }, mesosHttp));
  if (plain !== undefined) await listen(plain, { host: '127.0.0.1', apiPort: mesosHttp?.port ?? 0 });
  // not before the ports are had: nobody should be told of the token of a master that did not start
  await operators.ensureAdmin(dataDir);
  return {
    port,
    async close() {
      await Promise.all([api.close(), plain?.close()]);
    },
  };
}

function makeFace(parts: OperatorApiParts, wssPort: () => number | undefined): ApiFace {
  const { version, store, clock, events, operators, wire, readPeer, artifacts } = parts;
  const { authority, book, trust } = parts.credentials;
  const { fleet } = parts.nodes;
  const { services, policies } = parts.publishing;
  const { progress, feed, aheadNodes } = parts.tasks;
  const { jobs, updates, rounds, roles, mesos, secrets, drainNode, markGone } = parts.work;
  const { documents, rollouts } = parts.changes;
  const { shadows, logs, outputs } = parts.hearing;
  const { hosts, joinPort } = wire.door;
  const tokenParts = { tokens: store.joinTokens, rootSha256: () => authority.rootSha256, clock };
  return makeApiFace({
    ...{ version, store, clock, events, operators, fleet, book, trust, services, policies, progress, feed },
    ...{ jobs, updates, rounds, roles, mesos, secrets, drainNode, documents, rollouts, shadows, logs },
    takeOver: aheadNodes.takeOver,
    deleteNode: (node, reason) => markGone(node, reason, 'node-deleted'),
    followers: makeLogFollowers({ streams: outputs }),
    execs: makeExecs({ streams: outputs, events }),
    artifacts: { ...artifacts, remove: documents.removeArtifact },
    nodeOf: socket => {
      const peer = readPeer(socket);
      return peer?.id.kind === 'node' && peer.notAfter > clock.now() ? peer.id.node : undefined;
    },
    metrics: makeMetrics({ fleet, book, broker: wire.stats, now: () => clock.now() }),
    tokens: makeTokenDesk(tokenParts, () => ({ hosts, port: joinPort, ...(wire.upgrade && { wssPort: wssPort() }) })),
    certifyBroker: async ({ csr, names }) => {
      const { chainPem } = authority.issueBroker(Buffer.from(csr, 'base64'), names, clock.now());
      await book.record(chainPem, null);
      return { chain: chainPem, roots: authority.roots.join('') };
    },
  });
}

import { setMaxListeners } from 'node:events';
import { Background } from '../base/background.ts';
import { Cell } from '../base/cell.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { aborted } from '../base/signal.ts';
import { newId, systemRandom } from '../device/dice.ts';
import { openFiles } from '../device/files.ts';
import { topics } from '../model/topics.ts';
import { openStore, type Store } from '../store/store.ts';
import { agentVersions } from './agent-versions.ts';
import { openArtifacts } from './artifacts.ts';
import { type AuthorityFile, openAuthorityFile } from './authority-file.ts';
import { makeChanges } from './changes.ts';
import type { MasterConfig } from './config.ts';
import { openCredentials } from './credentials.ts';
import { makeDoor } from './door.ts';
import { makeEnrollment } from './enrollment.ts';
import { makeEvents } from './events.ts';
import { makeHearing } from './hearing.ts';
import { keepHouse } from './housekeeping.ts';
import { masterFactsOf } from './mesos/master-info.ts';
import { makeNodes } from './nodes.ts';
import { type OperatorApi, openOperatorApi } from './operator-api.ts';
import { makeOperators } from './operators.ts';
import { makeOutgoing } from './outgoing.ts';
import { openPublishing } from './publishing.ts';
import { makeRevisions } from './revisions.ts';
import { makeTasks } from './tasks.ts';
import { embeddedWire, externalWire } from './wire.ts';
import { makeWork } from './work.ts';

/** A master that is up. */
export interface RunningMaster {
  readonly mqttPort: number;
  readonly apiPort: number;
  /** Settles when all of it has ended, after `signal` has aborted. */
  readonly ended: Promise<void>;
}

interface MasterParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
}

/** Starts a master; it runs until `signal` aborts. Throws START_FAILED with what to do about it. */
export async function startMaster(
  given: MasterParts,
  config: MasterConfig,
  signal: AbortSignal,
): Promise<RunningMaster> {
  const { clock } = given;
  const files = await openFiles(config.dataDir);
  const { trustDomain, lifetimes = {}, authorityPassphrase: passphrase, root } = config;
  const options = { trustDomain, lifetimes, ...(passphrase !== undefined && { passphrase }), ...(root && { root }) };
  const authorityFile = await openAuthorityFile(files, options, clock.now());
  const store = await openStore({ path: `${config.dataDir}/mesolite.db` });
  try {
    // each part listens
    setMaxListeners(0, signal);
    const parts = await makeParts(given, config, authorityFile, store);
    const api = await startParts(parts, config, signal);
    return runParts(parts, config, api, signal);
  } catch (error) {
    await store.close();
    throw error;
  }
}

type Parts = Awaited<ReturnType<typeof makeParts>>;

/** The list of the master's parts, each from its own file, and of who hears what from whom. */
async function makeParts(
  { clock, log, version }: MasterParts,
  config: MasterConfig,
  authorityFile: AuthorityFile,
  store: Store,
) {
  // a time, as revisions are: what a restored master says is not taken for what was said after its copy was made
  const epoch = await store.meta.nextEpoch(Math.floor(clock.now()));
  const startedAt = clock.now();
  const events = makeEvents({ events: store.events, clock, log });
  const operators = makeOperators({ tokens: store.operatorTokens, clock, log });
  const background = new Background(log);
  const shared = { store, clock, log, events, inBackground: background.run };
  /** Whom to believe is settled first: before that nobody can be told anything. */
  const isUp = new Cell(false);
  /** Of the API; 0 is not known yet. */
  const apiPort = new Cell(config.apiPort);
  const disconnect = (node: string) => wire.disconnect(node);
  const publishServices = () => publishing.publishServices();

  const credentials = await openCredentials(
    {
      ...shared,
      authorityFile,
      isUp: () => isUp.value,
      readyNodes: () => fleet.list().flatMap(({ id, state }) => (state === 'ready' ? [id] : [])),
      askToRenew: (node, withinMs) => outgoing.ask(node, { what: 'rotate', withinMs }),
      disconnect,
      publishRevoked: async () => {
        await publishing.manifest.publish();
        await publishServices();
      },
      publishAll: () => publishing.publishAll(),
    },
    config,
  );
  const { authority, book, server } = credentials;
  const nodes = makeNodes({
    ...shared,
    ...{ book, disconnect, publishServices },
    ask: node => outgoing.ask(node, { what: 'birth' }),
    onNode(node) {
      work.rounds.onNode(node);
      work.systemJobs.onNode(node);
      work.mesos.onNode(node);
    },
    onRoom: () => work.rounds.wake(),
  });
  const { fleet, clones, nodeEvents } = nodes;
  const { joinTokens } = store;
  const door = makeDoor({ authority, book, fleet, clones, nodeEvents, joinTokens, clock }, config);
  const wireParts = { authority, identity: server.current, clock, log };
  const revoked = () => book.revoked;
  const wire =
    config.broker === undefined
      ? embeddedWire({ ...wireParts, ...door }, config)
      : externalWire({ ...wireParts, revoked, random: systemRandom }, config.broker);
  const nextRevision = makeRevisions(clock);
  const outgoing = makeOutgoing({ link: wire.publisher, signer: () => authority.signer, clock, nextRevision });
  const publishing = await openPublishing(
    {
      ...{ ...shared, outgoing, nextRevision, credentials, nodes },
      rollout: () => changes.rollouts.active,
      apiPort: () => apiPort.value,
    },
    config,
    { epoch },
  );
  const tasks = makeTasks({
    ...{ ...shared, outgoing, nodes, publishServices },
    onRecorded(task, status) {
      work.mesos.onRecorded(task, status);
      work.rounds.onRecorded(task);
    },
    onEnded: task => work.rounds.onEnded(task),
    onReady: () => work.rounds.onReady(),
    onTakenOver: async lost => {
      // a service has its instances again
      if (lost > 0) await changes.documents.resume();
      work.rounds.wake();
    },
  });
  const artifacts = await openArtifacts(
    {
      jobs: () => work.jobs.list(),
      agentVersions: () => agentVersions(store, changes.rollouts.active),
      assignments: store.assignments,
      now: () => clock.now(),
      newId,
    },
    { directory: `${config.dataDir}/artifacts` },
  );
  const facts = () => masterFactsOf({ epoch, hosts: wire.door.hosts, port: apiPort.value, version, startedAt });
  const work = makeWork({ ...shared, nodes, tasks, artifacts, facts }, config, authorityFile);
  const changes = makeChanges({ ...shared, nodes, publishing, artifacts, work }, config);
  const hearing = makeHearing({ ...shared, outgoing, credentials, nodes, tasks, publishing, changes }, config);
  const enrollment = makeEnrollment({
    tokens: joinTokens,
    link: wire.publisher,
    ...{ authority, book, events, clock, log },
    masters: () => {
      const { hosts, port, joinPort } = wire.door;
      return port === joinPort ? undefined : hosts.map(host => ({ host, port }));
    },
    onJoined: nodes.onJoined,
  });
  return {
    ...{ ...shared, version, epoch, operators, background, isUp, apiPort, credentials, nodes, door, wire, outgoing },
    ...{ publishing, tasks, artifacts, work, changes, hearing, enrollment },
  };
}

/** What is stored first, then the wire, and the API last. */
async function startParts(parts: Parts, config: MasterConfig, signal: AbortSignal): Promise<OperatorApi> {
  const { nodes, work, changes, wire, outgoing, publishing, hearing, enrollment, inBackground } = parts;
  await nodes.fleet.load();
  await changes.rollouts.load();
  await work.updates.load();
  await changes.documents.resume();
  await work.roles.load();
  await work.rounds.load();
  await work.mesos.load();
  work.rounds.offerTo(work.mesos.offerTaker);

  const { link } = wire;
  await wire.start(signal);
  link.subscribe(topics.allUp, (topic, payload) =>
    inBackground('hearing a node', hearing.incoming.handle(topic, payload)),
  );
  link.subscribe(topics.allJoinRequests, (topic, payload) => inBackground('a join', enrollment.handle(topic, payload)));
  parts.isUp.set(true);
  await publishing.publishAll();
  // behind a broker of others they may not notice that another master has started
  for (const { id, state } of nodes.fleet.list()) if (state === 'ready') await outgoing.ask(id, { what: 'birth' });
  // a broker of others may have lost what it retained, and did not hear what was said while it was away
  link.state.watch(state => {
    if (state === 'up') inBackground('saying everything again', publishing.publishAll());
  });

  return openOperatorApi(
    {
      ...parts,
      readPeer: parts.door.readPeer,
      async onListening(port) {
        if (parts.apiPort.value === port) return;
        parts.apiPort.set(port);
        await publishing.manifest.publish();
      },
    },
    config,
  );
}

/** Until `signal` aborts: then the API goes first, and the database last. */
function runParts(
  parts: Parts,
  { trustDomain }: MasterConfig,
  { port: apiPort, close }: OperatorApi,
  signal: AbortSignal,
): RunningMaster {
  const { store, log, background, epoch, credentials, nodes, wire, publishing, work, changes, hearing } = parts;
  const { auditIntake } = hearing;
  const { publishAll } = publishing;
  const loops = [
    nodes.fleet.run(signal),
    ...work.run(signal),
    nodes.weights.run(signal),
    publishing.keySets.run(signal),
    changes.rollouts.run(signal),
    ...keepHouse({ ...parts, ...credentials, auditIntake, publishAll }, signal),
  ];
  const { port: mqttPort } = wire.door;
  log.info('the master is up', { mqttPort, apiPort, trustDomain, epoch });

  const stop = async (): Promise<void> => {
    await aborted(signal);
    await close();
    await Promise.allSettled(loops);
    await wire.closed;
    await background.settled();
    await store.close();
    log.info('the master has stopped');
  };
  return { mqttPort, apiPort, ended: stop() };
}

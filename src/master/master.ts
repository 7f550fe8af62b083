import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { Background } from '../base/background.ts';
import type { Clock } from '../base/clock.ts';
import { isMesoliteError } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import { aborted } from '../base/signal.ts';
import { newId, systemRandom } from '../device/dice.ts';
import { openFiles } from '../device/files.ts';
import { serverTlsOptions, type TlsIdentity } from '../identity/contexts.ts';
import { makeFetchText } from '../link/fetch-text.ts';
import { readProxyRules } from '../link/proxy-rules.ts';
import type { Drain } from '../model/drain.ts';
import type { Birth } from '../model/message.ts';
import { maxKeySetBytes } from '../model/request-authentication.ts';
import { topics } from '../model/topics.ts';
import { defaultSchedulerSettings, makeScheduler } from '../scheduling/scheduler.ts';
import { openStore, type Store } from '../store/store.ts';
import { agentVersions } from './agent-versions.ts';
import { makeAheadNodes } from './ahead-nodes.ts';
import { listen, portOf } from './api/listen.ts';
import { makeApi } from './api/server.ts';
import { makeApiFace } from './api-face.ts';
import { openArtifacts } from './artifacts.ts';
import { makeAssignmentOutbox } from './assignment-outbox.ts';
import { makeAuditIntake } from './audit-intake.ts';
import { type AuthorityFile, openAuthorityFile } from './authority-file.ts';
import { openCertificateBook } from './certificate-book.ts';
import { makeCertificates } from './certificates.ts';
import { makeClones } from './clones.ts';
import type { MasterConfig } from './config.ts';
import { makeDocuments } from './documents.ts';
import { makeDoor } from './door.ts';
import { makeEnrollment } from './enrollment.ts';
import { makeEvents } from './events.ts';
import { makeExecs } from './execs.ts';
import { makeFleet } from './fleet.ts';
import { keepHouse } from './housekeeping.ts';
import { makeIncoming } from './incoming.ts';
import { makeInstaller } from './installer.ts';
import { makeJobUpdates } from './job-updates.ts';
import { makeJobs } from './jobs.ts';
import { makeTokenDesk } from './join-tokens.ts';
import { openKeySets } from './key-sets.ts';
import { makeLogFollowers } from './log-followers.ts';
import { makeLogs } from './logs.ts';
import { makeManifestOutbox } from './manifest.ts';
import { makeMarkGone } from './mark-gone.ts';
import { masterFactsOf } from './mesos/master-info.ts';
import { makeMesos } from './mesos/mesos.ts';
import { makePlainApi } from './mesos/plain-api.ts';
import { makeMetrics } from './metrics.ts';
import { makeNodeEvents } from './node-events.ts';
import { makeNodeWeights } from './node-weights.ts';
import { makeNodeWords } from './node-words.ts';
import { makeOperators } from './operators.ts';
import { makeOutgoing } from './outgoing.ts';
import { makeOutputStreams } from './output-streams.ts';
import { makePeriodic } from './periodic.ts';
import { openPolicies } from './policies.ts';
import { makePushes } from './pushes.ts';
import { makeRevisions } from './revisions.ts';
import { makeRoles } from './roles.ts';
import { makeRollouts } from './rollouts.ts';
import { makeRounds } from './rounds.ts';
import { checkSealKey } from './seal-keys.ts';
import { makeSecrets } from './secrets.ts';
import { makeServerIdentity, writeAuthorityFile } from './server-identity.ts';
import { makeServices } from './services.ts';
import { makeShadows } from './shadows.ts';
import { makeSystemJobs } from './system-jobs.ts';
import { makeTaskFeed } from './task-feed.ts';
import { makeTaskIntake } from './task-intake.ts';
import { makeTaskProgress } from './task-progress.ts';
import { openTrust } from './trust.ts';
import { embeddedWire, externalWire } from './wire.ts';
import { makeRunsWorkload } from './workload-rights.ts';

/** A master that is up. */
export interface RunningMaster {
  readonly mqttPort: number;
  readonly apiPort: number;
  /** Settles when all of it has ended, after `signal` has aborted. */
  readonly ended: Promise<void>;
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
/** Starts a master; it runs until `signal` aborts. Throws START_FAILED with what to do about it. */
export async function startMaster(
  { clock, log, version }: { readonly clock: Clock; readonly log: Log; readonly version: string },
  config: MasterConfig,
  signal: AbortSignal,
): Promise<RunningMaster> {
  const files = await openFiles(config.dataDir);
  const { trustDomain, lifetimes = {}, authorityPassphrase: passphrase, root } = config;
  const options = { trustDomain, lifetimes, ...(passphrase !== undefined && { passphrase }), ...(root && { root }) };
  const authorityFile = await openAuthorityFile(files, options, clock.now());
  const store = await openStore({ path: `${config.dataDir}/mesolite.db` });
  try {
    return await run({ clock, log, version }, config, authorityFile, store, signal);
  } catch (error) {
    await store.close();
    throw error;
  }
}

// One long function on purpose: it is the list of the master's parts and of who hears what from whom.
async function run(
  { clock, log, version }: { readonly clock: Clock; readonly log: Log; readonly version: string },
  config: MasterConfig,
  authorityFile: AuthorityFile,
  store: Store,
  signal: AbortSignal,
): Promise<RunningMaster> {
  // each part listens
  setMaxListeners(0, signal);
  // a time, as revisions are: what a restored master says is not taken for what was said after its copy was made
  const epoch = await store.meta.nextEpoch(Math.floor(clock.now()));
  const startedAt = clock.now();
  const events = makeEvents({ events: store.events, clock, log });
  const operators = makeOperators({ tokens: store.operatorTokens, clock, log });
  const names = [...new Set([...config.advertise, 'localhost', '127.0.0.1', '::1'])];
  const background = new Background(log);
  const inBackground = background.run;

  /** Whom to believe is settled first: before that nobody can be told anything. */
  let isUp = false;
  /** The port of the API; 0 is not known yet. */
  let listening = config.apiPort;
  const runs = makeRunsWorkload({ assignments: store.assignments });
  const book = await openCertificateBook({
    certificates: store.certificates,
    clock,
    events,
    inUse: () => trust.inUse(),
    runs,
    onRevoked: async records => {
      for (const { kind, node } of records) if (kind === 'node' && node !== null) wire.disconnect(node);
      if (records.some(({ kind }) => kind === 'master')) server.renew({ now: true });
      await trust.tend();
      await manifest.publish();
      await publishServices();
    },
  });
  const trust = await openTrust({
    file: authorityFile,
    clock,
    random: systemRandom,
    log,
    revoked: () => book.revoked,
    nodes: () => (isUp ? fleet.list().flatMap(({ id, state }) => (state === 'ready' ? [id] : [])) : []),
    holders: book.holders,
    askToRenew: (node, withinMs) => outgoing.ask(node, { what: 'rotate', withinMs }),
    record: chainPem => book.record(chainPem, null),
    events,
    onChanged: async () => {
      await writeAuthorityFile(config.dataDir, authority);
      if (!isUp) return;
      server.renew({ now: true });
      await publishAll();
    },
  });
  const { authority } = trust;
  await trust.tend();
  await writeAuthorityFile(config.dataDir, authority);
  const server = makeServerIdentity(
    {
      authority,
      clock,
      random: systemRandom,
      onIssued: chainPem => inBackground('recording a certificate', book.record(chainPem, null)),
    },
    { names },
  );

  const nodeEvents = makeNodeEvents({ events });
  const fleet = makeFleet({
    nodes: store.nodes,
    clock,
    log,
    onEvent: (id, change) => {
      nodeEvents.onChange(id, change);
      const node = fleet.get(id);
      if (node === undefined) return;
      rounds.onNode(node);
      systemJobs.onNode(node);
      mesos.onNode(node);
    },
  });
  const clones = makeClones({
    fleet,
    clock,
    log,
    events,
    ask: node => inBackground('asking a node who it is', outgoing.ask(node, { what: 'birth' })),
    onQuarantined: node => cutOff(node),
  });
  const door = makeDoor({ authority, book, fleet, clones, nodeEvents, joinTokens: store.joinTokens, clock }, config);
  const revoked = () => book.revoked;
  const wireParts = { authority, identity: server.current, clock, log };
  const wire =
    config.broker === undefined
      ? embeddedWire({ ...wireParts, ...door }, config)
      : externalWire({ ...wireParts, revoked, random: systemRandom }, config.broker);
  const { link, publisher } = wire;
  const nextRevision = makeRevisions(clock);
  const outgoing = makeOutgoing({ link: publisher, signer: () => authority.signer, clock, nextRevision });

  const { trustDomain, rootNamespace, meshDefault, pathNormalization } = config;
  const fetchText = makeFetchText({ proxyFor: readProxyRules(config.proxy ?? {}), maxBytes: maxKeySetBytes });
  const keySets = await openKeySets({
    store,
    fetchText,
    clock,
    random: systemRandom,
    events,
    log,
    rollout: () => rollouts.active,
    onChanged: () => inBackground('publishing other keys', publishPolicies()),
  });
  const { problemOf } = keySets;
  const policies = await openPolicies({ store, outgoing, clock, problemOf, rollout: () => rollouts.active }, () => ({
    trustDomain,
    rootNamespace,
    meshDefault,
    pathNormalization,
    keySets: keySets.carried,
  }));
  // peers refuse the tasks of one that is cut off
  const nodeOf = (id: string) => (book.isCutOff(id) ? undefined : fleet.get(id));
  const weights = makeNodeWeights({
    clock,
    log,
    events,
    publish: () => publishServices(),
    onRoom: () => rounds.wake(),
  });
  const { weightOf } = weights;
  const services = makeServices({ store, outgoing, nodeOf, weightOf, clock }, { trustDomain });
  const manifest = makeManifestOutbox(
    {
      authority,
      outgoing,
      clock,
      nextRevision,
      policyRevision: () => policies.revision,
      serviceRevisions: services.revisions,
      revoked: () => book.revoked,
      api: () => (listening === 0 ? [] : config.advertise.map(host => ({ host, port: listening }))),
      onPublished: trust.onPublished,
    },
    { epoch },
  );
  const assignments = makeAssignmentOutbox({
    assignments: store.assignments,
    tasks: store.tasks,
    outgoing,
    sha256,
    log,
    mayTell: node => aheadNodes.mayTell(node),
    onWithheld: (node, times) => {
      const message = `assignment: it was sent ${times} times, and the node does not have it`;
      events.record('document-withheld', { node, message });
    },
  });
  const aheadNodes = makeAheadNodes({
    store,
    fleet,
    events,
    onTakenOver: async (node, birth, lost) => {
      await intake.onLost(node, lost, 'not on its node any more when the master was restored');
      await assignments.onBirth(node, birth);
      await publishServices();
      // a service has its instances again
      if (lost.length > 0) await documents.resume();
      rounds.wake();
    },
  });
  const publishServices = async (): Promise<void> => {
    if (await services.publish()) await manifest.publish();
  };
  const publishPolicies = async (): Promise<void> => {
    await policies.publish();
    await manifest.publish();
  };
  const jobs = makeJobs({
    store,
    clock,
    newId,
    sha256,
    nodes: fleet.list,
    isUpdating: job => updates.isUnderWay(job),
    onStopped: versions => {
      // endpoints close before their tasks are told to go
      const work = publishServices().then(() => assignments.send(versions.map(version => version.node)));
      inBackground('stopping tasks', work);
    },
  });
  const artifacts = await openArtifacts(
    {
      jobs: jobs.list,
      agentVersions: () => agentVersions(store, rollouts.active),
      assignments: store.assignments,
      now: () => clock.now(),
      newId,
    },
    { directory: `${config.dataDir}/artifacts` },
  );
  const roles = makeRoles({ store, events, total: () => rounds.ledger().total });
  const mesos = makeMesos({
    store,
    fleet,
    clock,
    log,
    newId,
    ledger: () => rounds.ledger(),
    facts: () => {
      const { hosts } = wire.door;
      return masterFactsOf({ epoch, hosts, port: portOf(api) ?? config.apiPort, version, startedAt });
    },
    standing: () => ({ is: 'leading' }),
    onAssigned: nodes =>
      inBackground(
        'sending assignments',
        publishServices().then(() => assignments.send(nodes)),
      ),
    policies: roles.policies,
    drain: (node, drain) => drainNode(node, drain),
    markGone: (node, reason) => markGone(node, reason),
    change: events => rounds.change(events),
    jobsWait: () => rounds.hasWaiting,
    wake: () => rounds.wake(),
    inBackground,
  });
  const gate = new Gate(64);
  const updates = makeJobUpdates({
    store,
    jobs,
    gate,
    whyWaiting: task => rounds.whyWaiting(task)?.why,
    onJobs: () => rounds.wake(),
    events,
    clock,
    log,
  });
  const secretParts = { store, jobs, updates, events, clock, onJobs: () => rounds.wake() };
  const secrets = makeSecrets(secretParts, authorityFile.dataKey);
  const rounds = makeRounds({
    store,
    secretsOf: async (job, task, node) => {
      if (job.spec.secrets === undefined) return [];
      const key = fleet.get(node)?.birth?.sealKey?.key;
      return key === undefined ? undefined : secrets.sealFor(job, task, key);
    },
    policies: roles.policies,
    dice: systemRandom,
    strainOf: node => weights.strainOf(node),
    artifactBytes: artifacts.bytesOf,
    jobs,
    fleet,
    scheduler: makeScheduler({ ...defaultSchedulerSettings, order: config.taskOrder ?? 'longestFirst' }),
    clock,
    log,
    events,
    newId,
    onPlaced(nodes, tasks) {
      inBackground('sending assignments', assignments.send(nodes));
      mesos.onPlaced(tasks);
    },
    onEmptied: node => inBackground('taking a node out', markGone(node, 'it was drained to be gone')),
  });
  const drainNode = async (node: string, drain: Drain | null): Promise<void> => {
    await fleet.drain(node, drain);
    rounds.wake();
  };
  const systemJobs = makeSystemJobs({ jobs, clock, onChanged: rounds.wake, inBackground });
  const periodic = makePeriodic({ store, jobs, clock, log, onStarted: rounds.wake });
  const publishChanged = async (): Promise<void> => {
    await keySets.follow();
    await publishPolicies();
  };
  const rollouts = makeRollouts({
    rollouts: store.rollouts,
    fleet,
    events,
    clock,
    log,
    sha256,
    revision: () => policies.revision,
    publish: publishChanged,
  });
  const pushes = makePushes({ store, rollouts, onPolicies: publishChanged }, { rootNamespace });
  const documents = makeDocuments(
    {
      store,
      jobs,
      artifacts,
      updates,
      gate,
      clock,
      fleetTotal: () => rounds.ledger().total,
      onJobs: () => {
        rounds.wake();
        periodic.wake();
      },
      onRoles: async () => {
        await roles.load();
        rounds.wake();
      },
      pushes,
    },
    { rootNamespace, trustDomain },
  );
  const progress = makeTaskProgress({ clock });
  const feed = makeTaskFeed({ clock, log });
  store.tasks.watch(feed.note);
  progress.watch(feed.note);
  const intake = makeTaskIntake({
    store,
    outgoing,
    clock,
    log,
    newId,
    onRecorded(task, status) {
      mesos.onRecorded(task, status);
      rounds.onRecorded(task);
    },
    onEnded: task => {
      progress.onEnded(task);
      rounds.onEnded(task);
    },
    onChanged: (node, { ended, serving }) => {
      rounds.onReady();
      if (serving) inBackground('publishing services', publishServices());
      if (ended) inBackground('sending an assignment', assignments.send([node]));
    },
  });
  const certificates = makeCertificates({ authority, runs, book, outgoing, clock, log });
  const shadows = makeShadows();
  const auditIntake = makeAuditIntake({ audit: store.audit, authority, outgoing, clock, log }, config.audit);
  const logs = makeLogs({ outgoing, clock, newId });
  const outputs = makeOutputStreams({ outgoing, clock, newId, inBackground });
  const followers = makeLogFollowers({ streams: outputs });
  const execs = makeExecs({ streams: outputs, events });
  const enrollment = makeEnrollment({
    tokens: store.joinTokens,
    authority,
    book,
    link: publisher,
    events,
    clock,
    log,
    masters: () => {
      const { hosts, port, joinPort } = wire.door;
      return port === joinPort ? undefined : hosts.map(host => ({ host, port }));
    },
    onJoined: async node => {
      if (fleet.get(node) !== undefined) await revokeAll(node);
      clones.onJoined(node);
      await fleet.add(node);
    },
  });
  /** All that the node was given so far holds no more. */
  const revokeAll = async (node: string): Promise<void> => {
    try {
      await book.revoke({ node });
    } catch (error) {
      if (!isMesoliteError(error, 'NOT_FOUND')) throw error;
    }
  };
  const cutOff = async (node: string): Promise<void> => {
    wire.disconnect(node);
    await publishServices();
    await revokeAll(node);
  };
  const markGone = makeMarkGone({ store, fleet, jobs, intake, rounds, events, cutOff });
  const withOwnKey = (node: string, birth: Birth): Birth => {
    const moment = { now: clock.now(), revoked: book.revoked, expiredToleranceMs: config.offlineGraceMs };
    const { birth: checked, reason } = checkSealKey(node, birth, authority.bundle, moment);
    if (reason !== undefined) log.warn('a key for secrets is not believed', { node, reason });
    return checked;
  };
  const incoming = makeIncoming({
    log,
    hears: node => fleet.get(node)?.state !== 'quarantined' && !book.isCutOff(node),
    handlers: makeNodeWords({
      fleet,
      clones,
      nodeEvents,
      weights,
      intake,
      assignments,
      aheadNodes,
      rollouts,
      policies,
      trust,
      auditIntake,
      shadows,
      progress,
      certificates,
      outputs,
      logs,
      outgoing,
      publishServices,
      withOwnKey,
    }),
  });

  await fleet.load();
  await rollouts.load();
  await updates.load();
  await documents.resume();
  await roles.load();
  await rounds.load();
  await mesos.load();
  rounds.offerTo(mesos.offerTaker);

  await wire.start(signal);
  link.subscribe(topics.allUp, (topic, payload) => inBackground('hearing a node', incoming.handle(topic, payload)));
  link.subscribe(topics.allJoinRequests, (topic, payload) => inBackground('a join', enrollment.handle(topic, payload)));

  const publishAll = async (): Promise<void> => {
    await policies.publish();
    await services.publish({ all: true });
    await manifest.publish();
  };
  isUp = true;
  await publishAll();
  // behind a broker of others they may not notice that another master has started
  for (const { id, state } of fleet.list()) if (state === 'ready') await outgoing.ask(id, { what: 'birth' });
  // a broker of others may have lost what it retained, and did not hear what was said while it was away
  link.state.watch(state => {
    if (state === 'up') inBackground('saying everything again', publishAll());
  });

  const { hosts, port: mqttPort, joinPort } = wire.door;
  const tokens = makeTokenDesk({ tokens: store.joinTokens, rootSha256: () => authority.rootSha256, clock }, () => ({
    hosts,
    port: joinPort,
    ...(wire.upgrade && { wssPort: portOf(api) }),
  }));
  const face = makeApiFace({
    version,
    store,
    operators,
    documents,
    fleet,
    drainNode,
    takeOver: aheadNodes.takeOver,
    deleteNode: (node, reason) => markGone(node, reason, 'node-deleted'),
    jobs,
    updates,
    rounds,
    roles,
    progress,
    feed,
    mesos,
    services,
    policies,
    shadows,
    rollouts,
    logs,
    followers,
    execs,
    artifacts: { ...artifacts, remove: documents.removeArtifact },
    nodeOf: socket => {
      const peer = door.readPeer(socket);
      return peer?.id.kind === 'node' && peer.notAfter > clock.now() ? peer.id.node : undefined;
    },
    secrets,
    events,
    book,
    trust,
    metrics: makeMetrics({ fleet, book, broker: wire.stats, now: () => clock.now() }),
    tokens,
    clock,
    certifyBroker: async ({ csr, names }) => {
      const { chainPem } = authority.issueBroker(Buffer.from(csr, 'base64'), names, clock.now());
      await book.record(chainPem, null);
      return { chain: chainPem, roots: authority.roots.join('') };
    },
  });
  // a node that comes by WebSocket shows its certificate here; operators have none, and their tokens
  const apiTls = (identity: TlsIdentity) =>
    serverTlsOptions(identity, authority.bundle, 'caller', { minVersion: 'TLSv1.2' });
  const { dataDir, programDir } = config;
  const roots = () => authority.roots.join('');
  const installer = programDir === undefined ? undefined : makeInstaller({ log, version, programDir, dataDir, roots });
  const install = installer && { installer, clock };
  const api = await makeApi({ face, log, mesos, install, upgrade: wire.upgrade }, apiTls(server.current.value));
  server.current.watch(identity => api.server.setSecureContext(apiTls(identity)));
  const apiPort = await listen(api, config);
  if (listening !== apiPort) {
    listening = apiPort;
    await manifest.publish();
  }
  const plain = config.mesosHttp && (await makePlainApi({ face, mesos }, config.mesosHttp));
  if (plain !== undefined) await listen(plain, { host: '127.0.0.1', apiPort: config.mesosHttp?.port ?? 0 });
  // not before the ports are had: nobody should be told of the token of a master that did not start
  await operators.ensureAdmin(config.dataDir);

  const loops = [
    fleet.run(signal),
    rounds.run(signal),
    periodic.run(signal),
    updates.run(signal),
    mesos.run(signal),
    weights.run(signal),
    keySets.run(signal),
    rollouts.run(signal),
    ...keepHouse({ store, book, auditIntake, trust, server, wire, clock, inBackground, publishAll }, signal),
  ];
  log.info('the master is up', { mqttPort, apiPort, trustDomain, epoch });

  const stop = async (): Promise<void> => {
    await aborted(signal);
    await Promise.all([api.close(), plain?.close()]);
    await Promise.allSettled(loops);
    await wire.closed;
    await background.settled();
    await store.close();
    log.info('the master has stopped');
  };
  return { mqttPort, apiPort, ended: stop() };
}

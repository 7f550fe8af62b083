import { setMaxListeners } from 'node:events';
import { join, resolve } from 'node:path';
import { Background } from '../base/background.ts';
import { Cell } from '../base/cell.ts';
import { secondMs } from '../base/clock.ts';
import { Gate } from '../base/gate.ts';
import { aborted } from '../base/signal.ts';
import { ownAddresses } from '../device/addresses.ts';
import { newId, systemRandom } from '../device/dice.ts';
import { lockDirectory } from '../device/directory-lock.ts';
import { type FileOperations, systemFileOperations } from '../device/file-operations.ts';
import { type Files, openFiles } from '../device/files.ts';
import { startLogGuard } from '../device/log-guard.ts';
import { readMetered, readNetwork } from '../device/network.ts';
import { Optimizer } from '../device/optimizer.ts';
import type { Lowered } from '../device/privileges.ts';
import { sandboxName } from '../device/process.ts';
import { isAlive, ownIdentity } from '../device/process-identity.ts';
import { measureRates } from '../device/speed.ts';
import { defaultLogRate, makeLogKeeper, maxLogBytes } from '../device/task-log.ts';
import { hasOwnClock } from '../device/traps.ts';
import { clientTlsOptions, goodCiphers } from '../identity/contexts.ts';
import { sha256Hex } from '../identity/keys.ts';
import { deriveSealKey, offerSealKey } from '../identity/sealing.ts';
import { isOlder } from '../lifecycle/assignment.ts';
import { Fallback } from '../link/fallback.ts';
import { MqttLink } from '../link/mqtt-link.ts';
import { Outbox } from '../link/outbox.ts';
import { type ProxyRules, readProxyRules } from '../link/proxy-rules.ts';
import type { AccessRecord } from '../model/access.ts';
import type { AgentVersionSpec } from '../model/agent-version.ts';
import type { EnvelopeVerifier } from '../model/envelope.ts';
import { printSpiffeId } from '../model/identity.ts';
import { encodeMessage, maxKeepaliveSeconds } from '../model/message.ts';
import { portNumbers } from '../model/resources.ts';
import { secretsAttribute } from '../model/secret.ts';
import type { TaskSpec, TaskStatus } from '../model/task.ts';
import { topics } from '../model/topics.ts';
import { noPeerAuthentication } from '../policy/peer-authentication.ts';
import { noRequestAuthentication } from '../policy/request-authentication.ts';
import { makeProxy } from '../proxy/proxy.ts';
import { noDestinations } from '../traffic/destinations.ts';
import { noLimits } from '../traffic/limit.ts';
import { noRoutes } from '../traffic/service-routes.ts';
import { openAccessLog } from './access-log.ts';
import type { AgentParts, RunningAgent } from './agent-parts.ts';
import { appliedIn, keepApplied, readApplied } from './applied-profiles.ts';
import { makeOpenSource } from './artifact-source.ts';
import { openArtifacts } from './artifacts.ts';
import { openAuditJournal } from './audit-journal.ts';
import { defaultAuditSettings, openAuditTrail } from './audit-trail.ts';
import { makeCertificates } from './certificates.ts';
import { type NodeClock, openNodeClock } from './clock.ts';
import { type AgentConfig, defaultArtifactBytes } from './config.ts';
import { openConfinement } from './confinement.ts';
import { defaultMeteredMbPerMonth, openDataUse } from './data-use.ts';
import { dialAny } from './dial-any.ts';
import { makeDiskWatch, reserveBytes } from './disk-watch.ts';
import { makeExecAnswers } from './exec-answers.ts';
import { makeWearWatch, WearMeter } from './flash-wear.ts';
import { makeHeartbeat } from './heartbeat.ts';
import { makeIncoming } from './incoming.ts';
import { joinFirst } from './join.ts';
import { answerLog } from './log-answers.ts';
import { manifestSlot } from './manifest.ts';
import { makeMasterCheck } from './master-check.ts';
import { masterDials } from './master-dials.ts';
import { makeMeshPeers } from './mesh-peers.ts';
import { metricsText } from './metrics.ts';
import { startMetrics } from './metrics-server.ts';
import { makeMoments } from './moments.ts';
import { openNodeFacts } from './node-facts.ts';
import { loadIdentity, type NodeIdentity, nextBoot, storeIdentity } from './node-identity.ts';
import { openNodeSpeed } from './node-speed.ts';
import { makeOutputStreams } from './output-streams.ts';
import {
  agentVersionOf,
  authorizationOf,
  compileInto,
  denyAll,
  destinationsOf,
  limitsOf,
  peerAuthenticationOf,
  policySlot,
  requestAuthenticationOf,
  routesOf,
} from './policy.ts';
import { makeRefusals } from './refusals.ts';
import { makeSender } from './sender.ts';
import { makeServiceInboxes } from './services.ts';
import { makeShadowReport } from './shadow-report.ts';
import { makeSignedInbox } from './signed-inbox.ts';
import { makeSupervisor } from './supervisor.ts';
import { openTaskDirectories } from './task-directories.ts';
import { makeTaskEndings } from './task-endings.ts';
import { environmentOf } from './task-environment.ts';
import { makeTaskIdentities } from './task-identities.ts';
import { makeTaskProgress } from './task-progress.ts';
import { fitIntoBirth, makeTaskReports } from './task-reports.ts';
import { makeTaskSecrets, openMemory } from './task-secrets.ts';
import { makeTrialCounts } from './trial.ts';
import { openTrust } from './trust.ts';
import { makeUpgrade } from './upgrade.ts';
import { type KnownManifest, watchForWithheld } from './withheld.ts';
import { callerSecret, makeWorkloads } from './workloads.ts';

/** A node whose clock is behind waits so long for the master's time before it judges peers by the last time it has seen. */
const waitForTimeMs = 60 * secondMs;

/** A board that is busy for some seconds is not cut off, however often it is to tell how it fares. */
const leastKeepaliveSeconds = 10;

/** Starts an agent: joins if it has not yet, brings its tasks and its mesh up from the disk, then looks for the master. */
export async function startAgent(parts: AgentParts, config: AgentConfig, signal: AbortSignal): Promise<RunningAgent> {
  const proxyFor = readProxyRules(config.proxy ?? {});
  const wear = new WearMeter(parts.clock);
  const disk = wear.counting(systemFileOperations);
  const files = await openFiles(config.dataDir, { operations: disk, reserveBytes });
  const letGo = await lockDirectory(config.dataDir);
  try {
    const clock = await openNodeClock({ system: parts.clock, files, log: parts.log, newId });
    const runParts = { ...parts, clock, proxyFor, letGo, wear, disk };
    const known = await loadIdentity(files);
    if (known !== undefined && config.join !== undefined) {
      const next = `mesolite join --replace --node ${known.node}`;
      parts.log.info('this node has an identity, so the join string is not used', {
        node: known.node,
        toJoinAnew: next,
      });
    }
    const identity = known ?? (await joinFirst(runParts, config, files, signal));
    return await run(runParts, config, files, identity, signal);
  } catch (error) {
    await letGo();
    throw error;
  }
}

interface RunParts extends AgentParts {
  readonly clock: NodeClock;
  /** Lets another agent have the data directory. */
  readonly letGo: () => Promise<void>;
  readonly proxyFor: ProxyRules;
  readonly wear: WearMeter;
  /** The files of the data directory, as `wear` counts them. */
  readonly disk: FileOperations;
}

// One long function on purpose: it is the list of the agent's parts and of who hears what from whom.
async function run(
  { clock, log, version, proxyFor, sockets, change, serving, late, inherited, letGo, wear, disk }: RunParts,
  config: AgentConfig,
  files: Files,
  identity: NodeIdentity,
  signal: AbortSignal,
): Promise<RunningAgent> {
  // every task and every connection listens to the one signal of the agent; their own bounds hold
  setMaxListeners(0, signal);
  const { node, trustDomain } = identity;
  const boot = await nextBoot(files);
  const background = new Background(log);
  const inBackground = background.run;
  const start = newId();
  const trust = await openTrust({ files, clock, log, moment: () => moments.master(), inBackground }, identity);
  const bundle = () => trust.current.value.bundle;
  const moments = makeMoments(
    { clock, revoked: () => trust.current.value.revoked, isUp: () => isUp() },
    { offlineGraceMs: config.offlineGraceMs, waitForTimeMs },
  );
  const verify: EnvelopeVerifier = (...signed) => trust.current.value.verify(...signed);
  const masterCheck = makeMasterCheck({ trust, moments });
  const ownId = printSpiffeId({ kind: 'node', trustDomain, node });
  const appliedProfiles = new Cell(await readApplied(files, log));
  const facts = await openNodeFacts({ clock, log }, config, appliedProfiles.value);
  const speed = await openNodeSpeed({ files, log, measureRates: s => measureRates(clock, s) }, facts, config.speed);

  const data = await openDataUse(
    { clock, log, readMetered: () => readMetered(readNetwork()), onChanged: () => onSpent() },
    {
      isMetered: config.metered,
      normalMs: () => facts.profile.heartbeatMs,
      meteredMbPerMonth: () => config.dataBudgetMb ?? facts.profile.meteredMbPerMonth ?? defaultMeteredMbPerMonth,
    },
  );

  const masterTls = {
    tls: () => clientTlsOptions(certificates.get(ownId) ?? identity, bundle(), 'caller'),
    verifyServer: masterCheck.verify,
    proxyFor,
  };
  const dials = masterDials(masterTls, identity.masters);
  const ways = new Fallback(
    {
      mqtts: dialAny(dials.mqtts),
      wss: dials.wss.length === 0 ? undefined : dialAny(dials.wss),
      clock,
      random: systemRandom,
      log,
    },
    {
      failures: Math.max(3, dials.mqtts.length),
      failuresAtFirst: dials.mqtts.length,
      ...(config.fallbackRetryMs !== undefined && { retryMs: config.fallbackRetryMs }),
    },
  );
  const link = new MqttLink(
    {
      dial: data.dialling(ways.dial),
      clock,
      random: systemRandom,
      log,
      onPacket: data.count,
      // what the broker holds back from a node whose certificate has expired, whatever this clock says
      onNotGranted: filters => {
        isHeldBack = filters.includes(topics.down(node, 'task'));
      },
    },
    {
      clientId: node,
      will: { topic: topics.up(node, 'death'), payload: encodeMessage({ v: 1, boot }), qos: 1 },
      // a metered link is not woken between two heartbeats, however slow they will be
      keepaliveSeconds: () =>
        data.isMetered
          ? maxKeepaliveSeconds
          : Math.max(leastKeepaliveSeconds, Math.ceil((3 * facts.profile.heartbeatMs) / 1000)),
    },
  );
  let isHeldBack = false;
  const isUp = () => link.state.value === 'up';
  const outbox = new Outbox({ link, log });
  const sender = makeSender({ lanes: outbox, clock }, { node, boot });
  const isSent = () => outbox.stats().waitingBytes === 0;
  const reports = makeTaskReports({ sender, clock, log, isUp, isSent });
  const auditSettings = { ...defaultAuditSettings, ...config.audit };
  const journal = await openAuditJournal(
    { disk, sha256: sha256Hex, owner: await ownIdentity(), isAlive },
    { directory: join(config.dataDir, 'audit'), node, boot, maySync: auditSettings.sync !== 'never' },
  );
  const audit = await openAuditTrail(
    { journal, sender, clock, random: systemRandom, log, isUp, holdMs: () => data.cadence.value.holdMs },
    auditSettings,
  );

  // requests are finished, and so recorded, for longer than the rest
  const recording = new AbortController();
  const accessLog =
    config.accessLog &&
    (await openAccessLog(
      { clock, log, random: systemRandom },
      config.accessLog,
      recording.signal,
      wear.for('access-log'),
    ));

  /** What ends when the link has been let go is for whoever takes over to tell the master. */
  function onAccess(record: AccessRecord): void {
    optimizer.countRequest();
    if (signal.aborted && late !== undefined) late(record);
    else audit.record(record);
    trial.record(record);
    accessLog?.record(record);
  }

  const optimizer = new Optimizer(() => clock.monotonic());
  const trial = makeTrialCounts({ clock, tell: () => inBackground('telling how a rollout fares', heartbeat.beat()) });

  const policy = new Cell(denyAll(trustDomain));
  const destinations = new Cell(noDestinations);
  const limits = new Cell(noLimits);
  const peerAuthentication = new Cell(noPeerAuthentication);
  const requestAuthentication = new Cell(noRequestAuthentication);
  const routes = new Cell(noRoutes);
  const agentVersion = new Cell<AgentVersionSpec | undefined>(undefined);
  const refusals = makeRefusals({ sender, clock, log });
  const inboxParts = { verify, files, clock, sender, refusals, log };
  const policyInbox = makeSignedInbox(
    inboxParts,
    policySlot(
      [
        compileInto(policy, authorizationOf),
        compileInto(destinations, destinationsOf),
        compileInto(limits, limitsOf),
        compileInto(peerAuthentication, peerAuthenticationOf),
        compileInto(requestAuthentication, requestAuthenticationOf),
        compileInto(routes, routesOf),
        compileInto(agentVersion, agentVersionOf),
        compileInto(appliedProfiles, appliedIn),
      ],
      { node, onRollout: trial.enter },
    ),
  );
  const manifest = new Cell<KnownManifest | undefined>(undefined);
  const manifestInbox = makeSignedInbox(
    inboxParts,
    manifestSlot({ trust, clock, onTaken: taken => manifest.set(taken) }),
    // the one that was taken before the start may come again, for what it says besides trust
    trust.revision - 1,
  );
  const services = makeServiceInboxes({ ...inboxParts, subscribe: (t, h) => link.subscribe(t, h), inBackground });

  const certificates = makeCertificates({
    sender,
    files,
    bundle,
    moment: moments.peer,
    clock,
    random: systemRandom,
    newId,
    log,
    isUp,
    question: () => clock.question,
    async onIssued(spiffeId, issued) {
      if (spiffeId === ownId) {
        // from now on it is known by the new one; nothing is lost on the way
        link.reconnect();
        await storeIdentity(files, { ...identity, ...issued });
      }
      workloads.onIssued(spiffeId);
      identities.refresh();
      for (const { spec } of supervisor.live())
        if (spec.service !== undefined && workloads.spiffeIdOf(spec) === spiffeId) supervisor.sayAgain(spec.id);
    },
  });
  certificates.put(ownId, identity);
  const workloads = makeWorkloads(
    { certificates: () => certificates, bundle },
    { trustDomain, taskSecret: identity.taskSecret, minTls: config.minTls },
  );
  const proxy = makeProxy(
    {
      clock,
      log,
      random: systemRandom,
      peers: makeMeshPeers({ trust, moments, clock, log }),
      policy,
      workloads: workloads.known,
      services: services.known,
      destinations,
      limits,
      peerAuthentication,
      requestAuthentication,
      time: () => (clock.known ? clock.now() : undefined),
      routes,
      onAccess,
    },
    {
      meshHost: config.meshHost,
      meshPort: config.meshPort,
      outboundPort: config.outboundPort,
      publishHost: config.publishHost,
      ...(config.minTls === 'TLSv1.2' && { olderTls: { ciphers: goodCiphers } }),
      bounds: facts.profile.proxy,
    },
  );
  const listen = () => proxy.start(serving?.signal ?? signal, sockets, serving?.handedOver);
  const shadows = makeShadowReport({
    sender,
    clock,
    isUp,
    counts: () => proxy.shadows(),
    revision: () => policy.value.revision,
  });
  // nobody is refused by sockets that listen already: there the proxy begins when it knows its tasks
  let mesh = sockets === undefined ? await listen() : undefined;
  const metrics =
    config.metrics &&
    (await startMetrics(
      () => metricsText(proxy.snapshot(), accessLog?.dropped ?? 0, { disk: wear.totals, link: data.totals }),
      config.metrics,
      signal,
    ));
  trust.current.watch(() => {
    proxy.recheck();
    masterCheck.recheck();
    identities.refresh();
  });

  const directories = await openTaskDirectories(config.dataDir);
  const confinement = await openConfinement({ clock, log }, config);
  const onSpent = () => isUp() && inBackground('telling what is used up', heartbeat.birth());
  const room = makeDiskWatch({ clock, log, files, onChanged: onSpent }, config);
  const wearing = makeWearWatch({ meter: wear, clock, log, onChanged: onSpent }, () => facts.profile);
  const { bytesPerSecond, burstBytes } = defaultLogRate;
  const rate = { bytesPerSecond: config.taskLogBytesPerSecond ?? bytesPerSecond, burstBytes };
  const logKeeper = makeLogKeeper({ clock, log }, { rate, onWritten: wear.for('task-logs') });
  const dataDir = resolve(config.dataDir);
  const guarded = { tasks: join(dataDir, 'tasks'), file: join(dataDir, 'log-guard'), maxBytes: maxLogBytes };
  await startLogGuard({ log }, guarded, signal);
  const streams = makeOutputStreams({ sender, clock }, signal);
  const findLive = (task: string) => supervisor.live().find(({ spec }) => spec.id === task)?.spec;
  const isLive = (task: string) => findLive(task) !== undefined;
  const path = process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin';
  const sealKey = deriveSealKey(identity.taskSecret);
  const memory = openMemory(config.dataDir, log);
  const secrets = makeTaskSecrets({ key: sealKey, memory: memory?.secrets });
  const identities = makeTaskIdentities({
    ...{ memory: memory?.identities, certificates: () => certificates, bundle, log },
    ...{ spiffeIdOf: workloads.spiffeIdOf, lower: confinement.lower },
  });
  const environment = (spec: TaskSpec, owner?: Lowered['owner']) => ({
    ...environmentOf(spec, {
      node,
      path,
      outboundPort: mesh?.outboundPort ?? config.outboundPort,
      secretOf: task => callerSecret(identity.taskSecret, task),
      home: join(directories.of(spec.id), sandboxName),
    }),
    ...secrets.environmentOf(spec, owner),
    ...identities.environmentOf(spec, owner),
  });
  const execs = makeExecAnswers({
    sender,
    streams,
    clock,
    isAllowed: config.allowExec === true,
    find: findLive,
    lower: confinement.lower,
    principalOf: spec => workloads.spiffeIdOf(spec).replace('spiffe://', ''),
    environmentOf: environment,
    sandboxOf: task => join(directories.of(task), sandboxName),
    groupOf: task => supervisor.running().find(({ spec }) => spec.id === task)?.process.cgroup?.path,
    record: record => audit.record(record),
  });
  const open = data.counting(
    makeOpenSource({ proxyFor, master: masterTls, addresses: () => manifest.value?.api ?? [] }),
  );
  const artifacts = await openArtifacts(
    {
      ...{ open, clock, random: systemRandom, log, desired: () => supervisor.desired() },
      onStock: () => inBackground('telling what is here', heartbeat.beat()),
      onWritten: wear.for('artifacts'),
    },
    {
      directory: join(config.dataDir, 'artifacts'),
      totalBytes: config.artifactBytes ?? defaultArtifactBytes,
      keys: config.artifactKeys ?? [],
    },
  );
  const supervisor = makeSupervisor({
    artifacts,
    identities,
    processes: wear.countingRuns(confinement.processes),
    lower: confinement.lower,
    inBackground,
    clock,
    random: systemRandom,
    newId,
    log,
    files,
    directories,
    endings: makeTaskEndings({ files, clock, newId, log }),
    logKeeper,
    sha256: sha256Hex,
    environmentOf: environment,
    onStatus: status => reports.report(withFacts(status)),
    onChanged: () => {
      const live = supervisor.live();
      secrets.keep(new Set(live.map(({ spec }) => spec.id)));
      inBackground('keeping identities', identities.keep(live.map(({ spec }) => spec)));
      inBackground(
        'asking for certificates',
        certificates.want(new Set(live.map(({ spec }) => workloads.spiffeIdOf(spec)))),
      );
      inBackground('listening to services', services.want(wantedServices()));
      workloads.update(live);
    },
  });

  const progress = makeTaskProgress({
    tasks: () => supervisor.live().map(({ spec }) => spec.id),
    sandboxOf: task => join(directories.of(task), sandboxName),
  });

  /** A task that serves may be called once the mesh has its certificate, too; and it may have told how far it is. */
  function withFacts(status: TaskStatus): TaskStatus {
    const told = progress.of(status.task);
    const spec = findLive(status.task);
    const served = spec?.service === undefined || certificates.get(workloads.spiffeIdOf(spec)) !== undefined;
    return { ...status, ...(status.ready === true && !served && { ready: false }), ...(told && { progress: told }) };
  }

  /** What a birth tells of the tasks: of one that has more to tell, what comes next of it. */
  function toldStatuses(): TaskStatus[] {
    const unsaid = reports.unsaid();
    return fitIntoBirth(supervisor.statuses().map(status => unsaid.get(status.task) ?? withFacts(status)));
  }

  /** And whether it takes secrets. */
  async function describeBoard() {
    const board = await facts.describe(supervisor.live().flatMap(({ spec }) => portNumbers(spec.resources)));
    if (memory === undefined) return board;
    const attributes = { ...board.attributes, [secretsAttribute]: 'memory' };
    return { ...board, attributes, sealKey: offerSealKey(sealKey, node, certificates.get(ownId) ?? identity) };
  }

  const heartbeat = makeHeartbeat(
    {
      sender,
      clock,
      log,
      readUsage: () => {
        optimizer.look();
        return facts.readUsage();
      },
      describe: async () => ({
        version,
        start,
        ...(await describeBoard()),
        address: config.address ?? ownAddresses()[0] ?? '127.0.0.1',
        meshPort: mesh?.meshPort ?? config.meshPort,
        via: ways.via.value,
        thermal: facts.profile.thermal,
        controllers: confinement.controllers,
        warnings: [...confinement.warnings, ...room.warnings(), ...wearing.warnings(), ...data.warnings()],
        speed: speed.value,
        ...upgrade?.facts(),
        held: supervisor.held.hash,
        epoch: supervisor.held.epoch,
        generation: supervisor.held.generation,
        tasks: toldStatuses(),
        clock: { offsetMs: clock.offsetMs, known: clock.known },
      }),
      heldHash: () => supervisor.held.hash,
      isUp,
      question: () => clock.question,
      trial: trial.current,
      progress: progress.news,
      stock: artifacts.stock.news,
      spent: () => ({ disk: wearing.spent(), link: data.spent() }),
    },
    { intervalMs: () => data.cadence.value.heartbeatMs },
  );
  const onRefused = () => isUp() && inBackground('telling that a version is refused', heartbeat.birth());
  const onWritten = wear.for('versions');
  const tell = heartbeat.beat;
  const upgrade = change && makeUpgrade({ artifacts, log, isUp, tell, onRefused, onWritten }, change, signal);
  agentVersion.watch(wanted => upgrade?.want(wanted));
  const profileGate = new Gate();
  let known = JSON.stringify(appliedProfiles.value);
  appliedProfiles.watch(applied => {
    // most pushes change nothing of it
    const text = JSON.stringify(applied);
    if (text !== known) inBackground('choosing a profile', profileGate.run(onProfiles));
    known = text;
  });

  /** What a profile keeps for the system, its paces and its limits hold at once; the proxy's bounds, and how often the disk is looked at, from the next start on. */
  async function onProfiles(): Promise<void> {
    await keepApplied(files, appliedProfiles.value);
    if (!(await facts.rematch(appliedProfiles.value))) return;
    data.adapt();
    if (isUp()) await heartbeat.birth();
  }
  clock.onDoubt(() => inBackground('asking for the time', heartbeat.beat()));
  const incoming = makeIncoming({
    ...inboxParts,
    handlers: {
      assignment: async body =>
        isOlder(body, supervisor.held) ? 'it is older than what is held' : supervisor.assign(body),
      async ask(body) {
        if (body.what === 'birth') await heartbeat.birth();
        else if (body.what === 'rotate')
          inBackground('renewing certificates', certificates.renewAll(body.withinMs, signal));
        else if (body.what === 'exec') await execs.answer(body);
        else await answerLog({ sender, directories, logKeeper, streams, clock, isLive }, body);
      },
      async ack({ statuses, audit: stored, certificate, nonce, output }, issuedAt) {
        if (nonce !== undefined) onTime(nonce, issuedAt);
        streams.acknowledge(output);
        reports.acknowledge(statuses);
        if (stored !== undefined) audit.acknowledge(stored);
        if (certificate !== undefined) await certificates.onAnswer(certificate);
      },
    },
  });

  let hasReported = () => {};
  const reportedIn = new Promise<void>(resolve => {
    hasReported = resolve;
  });

  function onTime(nonce: string, time: number): void {
    if (nonce === clock.question) hasReported();
    clock.answer(nonce, time);
    masterCheck.recheck();
    certificates.check();
  }

  /** Those that the tasks here call, and those that their calls are routed to. */
  function wantedServices(): ReadonlySet<string> {
    const wanted = supervisor.live().flatMap(({ spec }) => {
      const called = [...workloads.upstreamsOf(spec)];
      return [...called, ...called.flatMap(service => routes.value.routesOf(service, spec)?.services ?? [])];
    });
    return new Set(wanted);
  }
  routes.watch(() => inBackground('listening to services', services.want(wantedServices())));

  /** Settles when the services are read that tasks call, and what was found running serves again: by its health check, so for a second at most. */
  async function untilServing(): Promise<void> {
    await services.want(wantedServices());
    const isServing = () =>
      supervisor.live().every(({ spec }) => spec.service === undefined || workloads.known.value.get(spec.id)?.endpoint);
    await new Promise<void>(resolve => {
      const done = () => {
        cancel();
        forget();
        resolve();
      };
      const cancel = clock.after(secondMs, done);
      const forget = workloads.known.watch(() => isServing() && done());
      if (isServing()) done();
    });
  }

  // From the disk first: tasks, policy and peers do not wait for a network.
  await policyInbox.load();
  await incoming.load();
  await certificates.load();
  await supervisor.start(signal);
  if (mesh === undefined) await untilServing();
  mesh ??= await listen();

  for (const kind of ['task', 'ask', 'ack'] as const) {
    link.subscribe(topics.down(node, kind), (topic, wire) =>
      inBackground('hearing the master', incoming.handle(topic, wire)),
    );
  }
  link.subscribe(topics.policy, (_, wire) =>
    inBackground('taking a policy', policyInbox.receive(Uint8Array.from(wire))),
  );
  link.subscribe(topics.manifest, (_, wire) =>
    inBackground('taking a manifest', manifestInbox.receive(Uint8Array.from(wire))),
  );
  link.state.watch(state => {
    if (state !== 'up') return;
    // the grace is over
    proxy.recheck();
    clock.ask();
    if (isHeldBack) {
      isHeldBack = false;
      log.warn('the certificate of this node has expired: it is let in to renew it');
      certificates.renewOwn();
      return;
    }
    inBackground('introducing this node', heartbeat.birth());
    upgrade?.onLink();
    reports.repeat();
    certificates.check();
  });
  await outbox.start(signal);
  await link.start(signal);
  const auditing = audit.run(signal);
  const loops = [
    heartbeat.run(signal),
    reports.run(signal),
    auditing,
    shadows.run(signal),
    trial.run(signal),
    certificates.run(signal),
    ways.run(link, signal),
    logKeeper.start(signal),
    confinement.watch(supervisor.running, signal),
    room.run(signal),
    wearing.run(signal),
    data.run(signal),
    clock.run(hasOwnClock(facts.profile), signal),
    watchForWithheld(
      {
        clock,
        refusals,
        isUp,
        manifest: () => manifest.value,
        policyRevision: () => policyInbox.inForce?.revision ?? 0,
        serviceRevisions: services.revisions,
      },
      signal,
    ),
  ];
  inBackground(
    'measuring this node',
    speed.measure(signal).then(isNews => (isNews ? heartbeat.birth() : undefined)),
  );
  inherited?.(record => audit.record(record));
  log.info('the agent is up', { node, boot, profile: facts.profile.name, meshPort: mesh.meshPort });

  const { meshPort, socketOf, stopped } = mesh;
  const audited = auditing.then(() => audit.end(stopped));
  const release = async (): Promise<void> => {
    await aborted(signal);
    await Promise.allSettled([...loops, metrics?.ended]);
    await link.closed;
    await background.settled();
    facts.close();
    await letGo();
  };
  const stop = async (): Promise<void> => {
    await Promise.all([released, audited]);
    recording.abort();
    await accessLog?.ended;
    await background.settled();
    log.info('the agent has stopped; its tasks go on', { node });
  };
  const released = release();
  return { node, meshPort, socketOf, reportedIn, released, ended: stop() };
}

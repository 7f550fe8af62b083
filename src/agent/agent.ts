import { setMaxListeners } from 'node:events';
import { Background } from '../base/background.ts';
import { secondMs } from '../base/clock.ts';
import { aborted } from '../base/signal.ts';
import { newId } from '../device/dice.ts';
import { lockDirectory } from '../device/directory-lock.ts';
import { type FileOperations, systemFileOperations } from '../device/file-operations.ts';
import { type Files, giveUpReserve, openFiles } from '../device/files.ts';
import type { CheckedInventory } from '../device/inventory.ts';
import { type ProxyRules, readProxyRules } from '../link/proxy-rules.ts';
import type { EnvelopeVerifier } from '../model/envelope.ts';
import { topics } from '../model/topics.ts';
import type { RunningProxy } from '../proxy/node-proxy.ts';
import type { AgentParts, RunningAgent } from './agent-parts.ts';
import { openBoard } from './board.ts';
import { openBoardFacts } from './board-facts.ts';
import { type NodeClock, openNodeClock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import { reserveBytes } from './disk-watch.ts';
import { WearMeter } from './flash-wear.ts';
import { makeIncoming } from './incoming.ts';
import { joinFirst } from './join.ts';
import { makeMasterLink } from './master-link.ts';
import { makeMasterWords } from './master-words.ts';
import { makeMesh } from './mesh.ts';
import { metricsText } from './metrics.ts';
import { startMetrics } from './metrics-server.ts';
import { makeMoments } from './moments.ts';
import { loadIdentity, type NodeIdentity, nextBoot } from './node-identity.ts';
import { makePresence } from './presence.ts';
import { openRecords } from './records.ts';
import { makeRefusals } from './refusals.ts';
import { makeSignedDocuments } from './signed-documents.ts';
import { openTasks } from './tasks.ts';
import { makeTrialCounts } from './trial.ts';
import { openTrust } from './trust.ts';
import { makeUpgrade } from './upgrade.ts';

/** A node whose clock is behind waits so long for the master's time before it judges peers by the last time it has seen. */
const waitForTimeMs = 60 * secondMs;

/** Starts an agent: joins if it has not yet, brings its tasks and its mesh up from the disk, then looks for the master. */
export async function startAgent(parts: AgentParts, config: AgentConfig, signal: AbortSignal): Promise<RunningAgent> {
  const proxyFor = readProxyRules(config.proxy ?? {});
  const wear = new WearMeter(parts.clock);
  const disk = wear.counting(systemFileOperations);
  // first of all, for who opens the files clears away what is half written
  const letGo = await lockDirectory(config.dataDir, () => giveUpReserve(config.dataDir));
  try {
    const files = await openFiles(config.dataDir, { operations: disk, reserveBytes });
    const clock = await openNodeClock({ system: parts.clock, files, log: parts.log, newId });
    const { log, version } = parts;
    // once, where it cannot be kept either
    let board: Promise<CheckedInventory> | undefined;
    const readBoard = () => {
      board ??= openBoardFacts({ files, log, version }, parts.readBoard);
      return board;
    };
    const runParts = { ...parts, clock, proxyFor, letGo, wear, disk, readBoard };
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
  readonly readBoard: () => Promise<CheckedInventory>;
  readonly wear: WearMeter;
  /** The files of the data directory, as `wear` counts them. */
  readonly disk: FileOperations;
}

async function run(
  given: RunParts,
  config: AgentConfig,
  files: Files,
  identity: NodeIdentity,
  signal: AbortSignal,
): Promise<RunningAgent> {
  // every task and every connection listens to the one signal of the agent; their own bounds hold
  setMaxListeners(0, signal);
  const parts = await makeParts(given, config, files, identity, signal);
  const proxy = await startParts(parts, given, signal);
  return runParts(parts, given, proxy, signal);
}

type Parts = Awaited<ReturnType<typeof makeParts>>;

/** The list of the agent's parts, each from its own file, and of who hears what from whom. */
async function makeParts(
  { clock, log, version, readBoard, proxyFor, sockets, change, serving, late, wear, disk }: RunParts,
  config: AgentConfig,
  files: Files,
  identity: NodeIdentity,
  signal: AbortSignal,
) {
  const { node, masters } = identity;
  const { offlineGraceMs, fallbackRetryMs } = config;
  const boot = await nextBoot(files);
  const background = new Background(log);
  const inBackground = background.run;
  const introduce = async () => {
    if (master.isUp()) await heartbeat.birth();
  };

  const trust = await openTrust({ files, clock, log, moment: () => moments.master(), inBackground }, identity);
  const moments = makeMoments(
    { clock, revoked: () => trust.current.value.revoked, isUp: () => master.isUp() },
    { offlineGraceMs, waitForTimeMs },
  );
  const board = await openBoard({ clock, log, files, wear, readBoard, inBackground, introduce }, config);
  const master = makeMasterLink(
    { clock, log, proxyFor, trust, moments, board, ownIdentity: () => mesh.ownIdentity },
    { node, boot, masters, fallbackRetryMs },
  );
  const { sender, isUp } = master;
  const holdMs = () => board.data.cadence.value.holdMs;
  const records = await openRecords({ clock, log, disk, wear, master, holdMs, late }, config, signal);
  const trial = makeTrialCounts({ clock, tell: () => inBackground('telling how a rollout fares', heartbeat.beat()) });

  const verify: EnvelopeVerifier = (...signed) => trust.current.value.verify(...signed);
  const inbox = { verify, files, clock, sender, log, refusals: makeRefusals({ sender, clock, log }) };
  const { appliedProfiles } = board;
  const documents = makeSignedDocuments(
    { ...inbox, trust, master, appliedProfiles, onRollout: trial.enter, inBackground },
    identity,
  );
  const mesh = makeMesh(
    {
      ...{ clock, log, files, trust, moments, board, master, documents, inBackground },
      liveTasks: () => tasks.supervisor.live(),
      onIssued: spiffeId => tasks.onIssued(spiffeId),
      onAccess(record) {
        board.countRequest();
        records.record(record);
        trial.record(record);
      },
    },
    config,
    identity,
  );
  const listen = () => mesh.listen(serving?.signal ?? signal, sockets, serving?.handedOver);
  // nobody is refused by sockets that listen already: there the proxy begins when it knows its tasks
  if (sockets === undefined) await listen();
  const metrics =
    config.metrics &&
    (await startMetrics(
      () => metricsText(mesh.proxy.snapshot(), records.dropped, { disk: wear.totals, link: board.data.totals }),
      config.metrics,
      signal,
    ));

  const tasks = await openTasks(
    {
      ...{ clock, log, files, wear, trust, proxyFor, board, master, documents, mesh, inBackground },
      record: record => records.audit.record(record),
      onStock: () => inBackground('telling what is here', heartbeat.beat()),
    },
    config,
    identity,
    signal,
  );
  const heartbeat = makePresence(
    { clock, log, board, master, mesh, tasks, trial, versionFacts: () => upgrade?.facts() },
    { ...config, version },
  );
  const onRefused = () => inBackground('telling that a version is refused', introduce());
  const tell = heartbeat.beat;
  const onWritten = wear.for('versions');
  const { artifacts } = tasks;
  const upgrade = change && makeUpgrade({ artifacts, log, isUp, tell, onRefused, onWritten }, change, signal);
  const words = makeMasterWords({ clock, master, mesh, tasks, records, heartbeat, inBackground }, signal);
  const incoming = makeIncoming({ ...inbox, handlers: words });

  return {
    ...{ background, trust, board, master, records, trial, documents, mesh, listen, metrics, tasks, heartbeat },
    ...{ upgrade, incoming, boot, reportedIn: words.reportedIn },
  };
}

/** From the disk first: tasks, policy and peers do not wait for a network. */
async function startParts(
  { background, trust, master, documents, mesh, listen, tasks, heartbeat, upgrade, incoming }: Parts,
  { clock, log }: RunParts,
  signal: AbortSignal,
): Promise<RunningProxy> {
  const inBackground = background.run;
  const { link } = master;
  const { certificates, proxy } = mesh;
  trust.current.watch(() => {
    proxy.recheck();
    master.recheck();
    tasks.credentials.identities.refresh();
  });
  documents.agentVersion.watch(wanted => upgrade?.want(wanted));
  clock.onDoubt(() => inBackground('asking for the time', heartbeat.beat()));

  await documents.load();
  await incoming.load();
  await certificates.load();
  await tasks.supervisor.start(signal);
  if (mesh.listening === undefined) await mesh.untilServing();
  const listening = mesh.listening ?? (await listen());

  for (const kind of ['task', 'ask', 'ack'] as const) {
    link.subscribe(topics.down(master.sender.node, kind), (topic, wire) =>
      inBackground('hearing the master', incoming.handle(topic, wire)),
    );
  }
  documents.listen();
  master.onUp(isHeldBack => {
    // the grace is over
    proxy.recheck();
    clock.ask();
    if (isHeldBack) {
      log.warn('the certificate of this node has expired: it is let in to renew it');
      certificates.renewOwn();
      return;
    }
    inBackground('introducing this node', heartbeat.birth());
    upgrade?.onLink();
    tasks.reports.repeat();
    certificates.check();
  });
  await master.start(signal);
  return listening;
}

/** Until `signal` aborts: then the directory is let go as soon as nothing but the proxy is left, and what it records is written last. */
function runParts(
  { background, board, master, records, trial, documents, mesh, metrics, tasks, heartbeat, boot, reportedIn }: Parts,
  { log, inherited, letGo }: RunParts,
  { meshPort, socketOf, stopped }: RunningProxy,
  signal: AbortSignal,
): RunningAgent {
  const { node } = master.sender;
  const { facts, speed } = board;
  const auditing = records.audit.run(signal);
  const loops = [
    heartbeat.run(signal),
    auditing,
    trial.run(signal),
    ...mesh.run(signal),
    master.run(signal),
    ...tasks.run(signal),
    ...board.run(signal),
    documents.run(signal),
  ];
  background.run(
    'measuring this node',
    speed.measure(signal).then(isNews => (isNews ? heartbeat.birth() : undefined)),
  );
  inherited?.(record => records.audit.record(record));
  log.info('the agent is up', { node, boot, profile: facts.profile.name, meshPort });

  const audited = auditing.then(() => records.audit.end(stopped));
  const release = async (): Promise<void> => {
    await aborted(signal);
    await Promise.allSettled([...loops, metrics?.ended]);
    await master.link.closed;
    await background.settled();
    facts.close();
    await letGo();
  };
  const stop = async (): Promise<void> => {
    await Promise.all([released, audited]);
    await records.close();
    await background.settled();
    log.info('the agent has stopped; its tasks go on', { node });
  };
  const released = release();
  return { node, meshPort, socketOf, reportedIn, released, ended: stop() };
}

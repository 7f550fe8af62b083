import { join } from 'node:path';
import type { Log } from '../base/log.ts';
import { newId, systemRandom } from '../device/dice.ts';
import type { Files } from '../device/files.ts';
import type { Lowered } from '../device/privileges.ts';
import { sandboxName } from '../device/process.ts';
import { sha256Hex } from '../identity/keys.ts';
import type { ProxyRules } from '../link/proxy-rules.ts';
import type { AccessRecord } from '../model/access.ts';
import type { TaskSpec, TaskStatus } from '../model/task.ts';
import { makeOpenSource } from './artifact-source.ts';
import { openArtifacts } from './artifacts.ts';
import type { Board } from './board.ts';
import type { NodeClock } from './clock.ts';
import { type AgentConfig, defaultArtifactBytes } from './config.ts';
import { type Confinement, openConfinement } from './confinement.ts';
import type { WearMeter } from './flash-wear.ts';
import type { MasterLink } from './master-link.ts';
import type { Mesh } from './mesh.ts';
import type { NodeIdentity } from './node-identity.ts';
import type { SignedDocuments } from './signed-documents.ts';
import { makeSupervisor, type Supervisor } from './supervisor.ts';
import { openTaskCredentials, type TaskCredentials } from './task-credentials.ts';
import { openTaskDirectories } from './task-directories.ts';
import { makeTaskEndings } from './task-endings.ts';
import { environmentOf } from './task-environment.ts';
import { openTaskOutput, type TaskOutput } from './task-output.ts';
import { makeTaskProgress, type TaskProgress } from './task-progress.ts';
import { fitIntoBirth, makeTaskReports, type TaskReports } from './task-reports.ts';
import type { Trust } from './trust.ts';
import { callerSecret } from './workloads.ts';

/** The tasks of this node: what they are given, who looks after them, and what is told of them. */
export interface Tasks {
  readonly supervisor: Supervisor;
  readonly artifacts: Awaited<ReturnType<typeof openArtifacts>>;
  readonly confinement: Confinement;
  readonly credentials: TaskCredentials;
  readonly progress: TaskProgress;
  readonly reports: TaskReports;
  readonly output: TaskOutput;
  /** What a birth tells of the tasks: of one that has more to tell, what comes next of it. */
  statuses(): TaskStatus[];
  /** A new certificate is in force. */
  onIssued(spiffeId: string): void;
  run(signal: AbortSignal): Promise<void>[];
}

export interface TasksParts {
  readonly clock: NodeClock;
  readonly log: Log;
  readonly files: Files;
  readonly wear: WearMeter;
  readonly trust: Trust;
  readonly proxyFor: ProxyRules;
  readonly board: Pick<Board, 'data' | 'whenFull'>;
  readonly master: Pick<MasterLink, 'sender' | 'tls' | 'isUp' | 'isSent'>;
  readonly documents: Pick<SignedDocuments, 'manifest'>;
  readonly mesh: Mesh;
  readonly record: (record: AccessRecord) => void;
  /** What is here of artifacts has news. */
  readonly onStock: () => void;
  readonly inBackground: (what: string, work: Promise<unknown>) => void;
}

/** `signal` ends the watching; tasks outlive it. */
export async function openTasks(
  parts: TasksParts,
  config: AgentConfig,
  identity: NodeIdentity,
  signal: AbortSignal,
): Promise<Tasks> {
  const { clock, log, files, wear, trust, mesh, inBackground } = parts;
  const { sender, isUp, isSent } = parts.master;
  const { certificates, workloads } = mesh;
  const directories = await openTaskDirectories(config.dataDir);
  const sandboxOf = (task: string) => `${directories.of(task)}/${sandboxName}`;
  const confinement = await openConfinement({ clock, log }, config);
  const { lower } = confinement;
  const find = (task: string) => supervisor.live().find(({ spec }) => spec.id === task)?.spec;
  const output = await openTaskOutput(
    {
      ...{ clock, log, sender, wear, directories, sandboxOf, find, lower },
      environmentOf: (spec, owner) => environment(spec, owner),
      principalOf: spec => workloads.spiffeIdOf(spec).replace('spiffe://', ''),
      groupOf: task => supervisor.running().find(({ spec }) => spec.id === task)?.process.cgroup?.path,
      record: parts.record,
    },
    config,
    signal,
  );
  const credentials = openTaskCredentials({ log, trust, mesh, lower, inBackground }, config, identity);
  const environment = makeEnvironment({ mesh, credentials, sandboxOf }, config, identity);
  const artifacts = await openTaskArtifacts(parts, config, () => supervisor.desired());
  parts.board.whenFull(async bytes => {
    const given = await artifacts.giveBack(bytes);
    return given < bytes ? given + (await directories.makeRoom(bytes - given)) : given;
  });
  const reports = makeTaskReports({ sender, clock, log, isUp, isSent });
  const supervisor = makeSupervisor({
    ...{ clock, random: systemRandom, newId, log, files, directories, lower, artifacts, inBackground },
    environmentOf: environment,
    identities: credentials.identities,
    processes: wear.countingRuns(confinement.processes),
    endings: makeTaskEndings({ files, clock, newId, log }),
    logKeeper: output.logKeeper,
    sha256: sha256Hex,
    onStatus: status => reports.report(withFacts(status)),
    onChanged: () => {
      credentials.keep(supervisor.live().map(({ spec }) => spec));
      mesh.onTasks();
    },
  });
  const progress = makeTaskProgress({ tasks: () => supervisor.live().map(({ spec }) => spec.id), sandboxOf });

  /** A task that serves may be called once the mesh has its certificate, too; and it may have told how far it is. */
  function withFacts(status: TaskStatus): TaskStatus {
    const told = progress.of(status.task);
    const spec = find(status.task);
    const served = spec?.service === undefined || certificates.get(workloads.spiffeIdOf(spec)) !== undefined;
    return { ...status, ...(status.ready === true && !served && { ready: false }), ...(told && { progress: told }) };
  }

  return {
    ...{ supervisor, artifacts, confinement, credentials, progress, reports, output },
    statuses() {
      const unsaid = reports.unsaid();
      return fitIntoBirth(supervisor.statuses().map(status => unsaid.get(status.task) ?? withFacts(status)));
    },
    onIssued(spiffeId) {
      credentials.identities.refresh();
      for (const { spec } of supervisor.live())
        if (spec.service !== undefined && workloads.spiffeIdOf(spec) === spiffeId) supervisor.sayAgain(spec.id);
    },
    run: signal => [reports.run(signal), output.logKeeper.start(signal), confinement.watch(supervisor.running, signal)],
  };
}

function makeEnvironment(
  parts: {
    readonly mesh: Pick<Mesh, 'listening'>;
    readonly credentials: TaskCredentials;
    readonly sandboxOf: (task: string) => string;
  },
  config: AgentConfig,
  { node, taskSecret }: NodeIdentity,
): (spec: TaskSpec, owner?: Lowered['owner']) => Readonly<Record<string, string>> {
  const { mesh, credentials, sandboxOf } = parts;
  const path = process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin';
  return (spec, owner) => ({
    ...environmentOf(spec, {
      node,
      path,
      outboundPort: mesh.listening?.outboundPort ?? config.outboundPort,
      secretOf: task => callerSecret(taskSecret, task),
      home: sandboxOf(spec.id),
    }),
    ...credentials.environmentOf(spec, owner),
  });
}

function openTaskArtifacts(
  { clock, log, wear, proxyFor, board, master, documents, onStock }: TasksParts,
  config: AgentConfig,
  desired: () => Iterable<TaskSpec>,
): Promise<Tasks['artifacts']> {
  const addresses = () => documents.manifest.value?.api ?? [];
  const open = board.data.counting(makeOpenSource({ proxyFor, master: master.tls, addresses }));
  return openArtifacts(
    { open, clock, random: systemRandom, log, desired, onStock, onWritten: wear.for('artifacts') },
    {
      directory: join(config.dataDir, 'artifacts'),
      totalBytes: config.artifactBytes ?? defaultArtifactBytes,
      keys: config.artifactKeys ?? [],
    },
  );
}

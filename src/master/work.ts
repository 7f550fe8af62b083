import type { Clock } from '../base/clock.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import { newId, systemRandom } from '../device/dice.ts';
import { sha256Hex } from '../identity/keys.ts';
import type { Drain } from '../model/drain.ts';
import { defaultSchedulerSettings, makeScheduler } from '../scheduling/scheduler.ts';
import type { Store } from '../store/store.ts';
import type { Artifacts } from './artifacts.ts';
import type { AuthorityFile } from './authority-file.ts';
import type { MasterConfig } from './config.ts';
import type { Events } from './events.ts';
import { type JobUpdates, makeJobUpdates } from './job-updates.ts';
import { type Jobs, makeJobs } from './jobs.ts';
import { makeMarkGone } from './mark-gone.ts';
import type { MasterFacts } from './mesos/master-info.ts';
import { type Mesos, makeMesos } from './mesos/mesos.ts';
import type { Nodes } from './nodes.ts';
import { makePeriodic, type Periodic } from './periodic.ts';
import { makeRoles, type Roles } from './roles.ts';
import { makeRounds, type Rounds } from './rounds.ts';
import { makeSecrets, type Secrets } from './secrets.ts';
import { makeSystemJobs, type SystemJobs } from './system-jobs.ts';
import type { Tasks } from './tasks.ts';

/** Which tasks there are to be, of jobs and of frameworks, and who runs them. */
export interface Work {
  readonly jobs: Jobs;
  readonly updates: JobUpdates;
  readonly secrets: Secrets;
  readonly roles: Roles;
  readonly rounds: Rounds;
  readonly systemJobs: SystemJobs;
  readonly periodic: Periodic;
  readonly mesos: Mesos;
  /** One change of what is wanted after the other. */
  readonly gate: Gate;
  /** Has tasks leave a node, and none come; null has it take them again. */
  drainNode(node: string, drain: Drain | null): Promise<void>;
  readonly markGone: ReturnType<typeof makeMarkGone>;
  run(signal: AbortSignal): Promise<void>[];
}

export function makeWork(
  parts: {
    readonly store: Store;
    readonly clock: Clock;
    readonly log: Log;
    readonly events: Events;
    readonly nodes: Pick<Nodes, 'fleet' | 'weights' | 'cutOff'>;
    readonly tasks: Pick<Tasks, 'assignments' | 'intake' | 'sendAfterServices'>;
    readonly artifacts: Pick<Artifacts, 'bytesOf'>;
    readonly facts: () => MasterFacts;
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
  },
  { taskOrder }: Pick<MasterConfig, 'taskOrder'>,
  { dataKey }: Pick<AuthorityFile, 'dataKey'>,
): Work {
  const { store, clock, log, events, artifacts, facts, inBackground } = parts;
  const { fleet, weights, cutOff } = parts.nodes;
  const { assignments, intake, sendAfterServices } = parts.tasks;
  const onJobs = () => rounds.wake();
  const jobs = makeJobs({
    store,
    clock,
    newId,
    sha256: sha256Hex,
    nodes: fleet.list,
    isUpdating: job => updates.isUnderWay(job),
    onStopped: versions => inBackground('stopping tasks', sendAfterServices(versions.map(version => version.node))),
  });
  const roles = makeRoles({ store, events, total: () => rounds.ledger().total });
  const mesos = makeMesos({
    store,
    fleet,
    clock,
    log,
    newId,
    ledger: () => rounds.ledger(),
    facts,
    standing: () => ({ is: 'leading' }),
    onAssigned: nodes => inBackground('sending assignments', sendAfterServices(nodes)),
    policies: roles.policies,
    drain: drainNode,
    markGone: (node, reason) => markGone(node, reason),
    change: events => rounds.change(events),
    jobsWait: () => rounds.hasWaiting,
    wake: onJobs,
    inBackground,
  });
  const gate = new Gate(64);
  const whyWaiting = (task: string) => rounds.whyWaiting(task)?.why;
  const updates = makeJobUpdates({ store, jobs, gate, whyWaiting, onJobs, events, clock, log });
  const secrets = makeSecrets({ store, jobs, updates, events, clock, onJobs }, dataKey);
  const rounds = makeRounds({
    store,
    secretsOf: async (job, task, node) => {
      if (job.spec.secrets === undefined) return [];
      const key = fleet.get(node)?.birth?.sealKey?.key;
      return key === undefined ? undefined : secrets.sealFor(job, task, key);
    },
    policies: roles.policies,
    dice: systemRandom,
    strainOf: weights.strainOf,
    artifactBytes: artifacts.bytesOf,
    jobs,
    fleet,
    scheduler: makeScheduler({ ...defaultSchedulerSettings, order: taskOrder ?? 'longestFirst' }),
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
  const systemJobs = makeSystemJobs({ jobs, clock, onChanged: rounds.wake, inBackground });
  const periodic = makePeriodic({ store, jobs, clock, log, onStarted: rounds.wake });
  const markGone = makeMarkGone({ store, fleet, jobs, intake, rounds, events, cutOff });

  async function drainNode(node: string, drain: Drain | null): Promise<void> {
    await fleet.drain(node, drain);
    rounds.wake();
  }

  return {
    ...{ jobs, updates, secrets, roles, rounds, systemJobs, periodic, mesos, gate, drainNode, markGone },
    run: signal => [rounds.run(signal), periodic.run(signal), updates.run(signal), mesos.run(signal)],
  };
}

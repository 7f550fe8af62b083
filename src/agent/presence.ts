import type { Log } from '../base/log.ts';
import { ownAddresses } from '../device/addresses.ts';
import { newId } from '../device/dice.ts';
import type { Birth } from '../model/message.ts';
import { portNumbers } from '../model/resources.ts';
import type { Board } from './board.ts';
import type { NodeClock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import { type Heartbeat, makeHeartbeat } from './heartbeat.ts';
import type { MasterLink } from './master-link.ts';
import type { Mesh } from './mesh.ts';
import type { Tasks } from './tasks.ts';
import type { TrialCounts } from './trial.ts';

export interface PresenceParts {
  readonly clock: NodeClock;
  readonly log: Log;
  readonly board: Board;
  readonly master: Pick<MasterLink, 'sender' | 'isUp' | 'via'>;
  readonly mesh: Pick<Mesh, 'listening'>;
  readonly tasks: Tasks;
  readonly trial: TrialCounts;
  /** Which version of the agent runs here, where it is not the installed one. */
  readonly versionFacts: () => Pick<Birth, 'bundle' | 'refusedBundle'> | undefined;
}

/** What the master hears of this node: who it is on each connection, and how it fares in between. */
export function makePresence(
  parts: PresenceParts,
  config: Pick<AgentConfig, 'address' | 'meshPort'> & { readonly version: string },
): Heartbeat {
  const { clock, log, board, master, tasks, trial } = parts;
  const { sender, isUp } = master;
  return makeHeartbeat(
    {
      sender,
      clock,
      log,
      readUsage: board.readUsage,
      describe: describer(parts, config),
      heldHash: () => tasks.supervisor.held.hash,
      isUp,
      question: () => clock.question,
      trial: trial.current,
      progress: tasks.progress.news,
      stock: tasks.artifacts.stock.news,
      spent: board.spent,
    },
    { intervalMs: () => board.data.cadence.value.heartbeatMs },
  );
}

function describer(
  { clock, board, master, mesh, tasks, versionFacts }: PresenceParts,
  config: Parameters<typeof makePresence>[1],
): Parameters<typeof makeHeartbeat>[0]['describe'] {
  const { facts, speed } = board;
  const { supervisor, confinement, credentials } = tasks;
  const start = newId();
  return async () => {
    const ownPorts = supervisor.live().flatMap(({ spec }) => portNumbers(spec.resources));
    return {
      version: config.version,
      start,
      ...credentials.describe(await facts.describe(ownPorts)),
      address: config.address ?? ownAddresses()[0] ?? '127.0.0.1',
      meshPort: mesh.listening?.meshPort ?? config.meshPort,
      via: master.via(),
      thermal: facts.profile.thermal,
      controllers: confinement.controllers,
      warnings: [...confinement.warnings, ...board.warnings()],
      speed: speed.value,
      ...versionFacts(),
      held: supervisor.held.hash,
      epoch: supervisor.held.epoch,
      generation: supervisor.held.generation,
      tasks: tasks.statuses(),
      clock: { offsetMs: clock.offsetMs, known: clock.known },
    };
  };
}

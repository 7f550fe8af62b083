import { type Clock, secondMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { calmSince, judgeStrain, type Strain, type StrainLevel, strainWeights } from '../lifecycle/strain.ts';
import type { Events } from './events.ts';
import type { FleetNode } from './fleet.ts';

/** How much of a service's calls the endpoints of each node get, beside those of other nodes: less while the node is under strain. */
export interface NodeWeights {
  /** A node has told its usage. */
  onUsage(node: FleetNode): void;
  /** 1 to 100. */
  weightOf(node: string): number;
  strainOf(node: string): StrainLevel;
  /** Has services published after a weight has changed, until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

/** However many nodes change, their weights reach the callers at most so often. */
const publishEveryMs = 10 * secondMs;

export function makeNodeWeights(parts: {
  readonly clock: Clock;
  readonly log: Log;
  readonly events: Pick<Events, 'record'>;
  readonly publish: () => Promise<void>;
  /** A node takes no more tasks, or takes them again. */
  readonly onRoom: () => void;
}): NodeWeights {
  const { clock, log, events, publish, onRoom } = parts;
  const strains = new Map<string, Strain>();
  let changed = false;

  function tell({ id: node, usage }: FleetNode, { level }: Strain): void {
    log.info('the strain of a node has changed', { node, level, weight: strainWeights[level] });
    const at = usage?.temperatureC === undefined ? '' : ` at ${usage.temperatureC} °C`;
    if (level === 'hot') {
      const message = `it is too hot${at}: it is given no more tasks until it has cooled down, and few calls`;
      events.record('node-hot', { node, message });
    }
    if (level !== 'slow') return;
    events.record('node-throttled', {
      node,
      message: `its processor is kept slow by heat or lack of power${at}: other nodes take its calls where they can`,
    });
  }

  return {
    onUsage(node) {
      const { id, usage, birth } = node;
      if (usage === null || birth === null) return;
      const now = clock.monotonic();
      const before = strains.get(id) ?? calmSince(now);
      const strain = judgeStrain(before, usage, { cpuCount: birth.inventory.cpuCount, thermal: birth.thermal }, now);
      strains.set(id, strain);
      if (strain.level === before.level) return;
      changed = true;
      tell(node, strain);
      if (strain.level === 'hot' || before.level === 'hot') onRoom();
    },
    weightOf: node => strainWeights[strains.get(node)?.level ?? 'calm'],
    strainOf: node => strains.get(node)?.level ?? 'calm',
    async run(signal) {
      while (await clock.sleep(publishEveryMs, signal, 'loop')) {
        if (!changed) continue;
        changed = false;
        await publish();
      }
    },
  };
}

import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { capacityOf, freePorts, numberedPorts } from '../device/capacity.ts';
import { readDisk } from '../device/disk.ts';
import type { Files } from '../device/files.ts';
import type { CheckedInventory } from '../device/inventory.ts';
import { readNetwork } from '../device/network.ts';
import { openProbe } from '../device/probe.ts';
import { chooseProfile } from '../device/profiles.ts';
import { trapsHere } from '../device/traps.ts';
import type { FirmwareProfile, Inventory, Usage } from '../model/profile.ts';
import { nodePorts, type Resources } from '../model/resources.ts';
import { profilesFor } from './applied-profiles.ts';
import type { AgentConfig } from './config.ts';
import { keepRuntime } from './process-runtime.ts';
import type { UpBody } from './sender.ts';

/** What this board is and how it fares. */
export interface NodeFacts {
  readonly inventory: Inventory;
  /** The one that holds now. */
  readonly profile: FirmwareProfile;
  /** Chooses anew, with what operators have applied by now; true when it is another one. */
  rematch(applied: readonly FirmwareProfile[]): Promise<boolean>;
  readUsage(): Promise<Usage>;
  /** The part of a birth that the board tells; `ownPorts` are those of tasks that run here. */
  describe(
    ownPorts: readonly number[],
  ): Promise<Pick<UpBody<'birth'>, 'profile' | 'inventory' | 'attributes'> & { readonly total: Resources }>;
  close(): void;
}

export interface NodeFactsParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly files: Files;
  readonly readBoard: () => Promise<CheckedInventory>;
}

/** Knows the board, and chooses its profile: where there is none of the name that is asked for (any more), the one of the board. */
export async function openNodeFacts(
  { clock, log, files, readBoard }: NodeFactsParts,
  { dataDir, taskPorts, labels, resources, profile: asked, ...told }: AgentConfig,
  applied: readonly FirmwareProfile[] = [],
): Promise<NodeFacts> {
  const { inventory: read, warnings } = await readBoard();
  // an operator knows better
  const { cpuCount = read.cpuCount, memoryMb = read.memoryMb } = told;
  const inventory = { ...read, cpuCount, memoryMb };
  // read anew each time: the profiles of other boards need not stay in memory
  const choose = async (applied: readonly FirmwareProfile[]) => {
    const profile = chooseProfile(inventory, await profilesFor(told, applied), asked);
    // an operator may have deleted it: the tasks of a node do not wait for somebody who puts that right
    if (asked !== undefined && asked !== profile.name)
      log.error('there is no firmware profile of the name that was asked for', { asked, profile: profile.name });
    return profile;
  };
  let profile = await choose(applied);
  await keepRuntime(files, profile, log);
  for (const warning of warnings) log.warn('a fact of this board cannot be believed', { warning });
  for (const { trap, fix } of trapsHere(profile)) log.debug('a known trap of this board', { trap, fix });
  // read once: what tasks write afterwards is in what they hold, and is not to be taken from what there is to give as well
  const disk = readDisk(dataDir);
  const probe = openProbe({ clock }, { dataDirectory: dataDir, diskSampleMs: profile.diskSampleMs });
  return {
    inventory,
    get profile() {
      return profile;
    },
    async rematch(applied) {
      const next = await choose(applied);
      if (JSON.stringify(next) === JSON.stringify(profile)) return false;
      log.info('another firmware profile holds for this board', { before: profile.name, profile: next.name });
      profile = next;
      await keepRuntime(files, profile, log);
      return true;
    },
    readUsage: () => probe.sample(),
    async describe(ownPorts) {
      const own = new Set(ownPorts);
      const free = await freePorts(taskPorts, own);
      const numbered = numberedPorts(taskPorts, own);
      const ranges = { ports: free, [nodePorts]: numbered };
      const capacity = capacityOf(inventory, profile, disk, ranges, resources);
      for (const warning of capacity.warnings) log.warn('a resource is used up', { warning });
      const attributes = { arch: inventory.arch, profile: profile.name, os: inventory.os, ...labels };
      return {
        profile: profile.name,
        inventory: { ...inventory, network: readNetwork() },
        total: capacity.total,
        attributes,
      };
    },
    close: () => probe.close(),
  };
}

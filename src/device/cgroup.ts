import { posix } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { CgroupTree } from './cgroup-tree.ts';

export type Controller = 'cpu' | 'memory' | 'pids';
const controllers: readonly Controller[] = ['cpu', 'memory', 'pids'];

/** What a task may use, of that what its controllers know is held to by the kernel. */
export interface CgroupLimits {
  /** Its share of processors that others want, too; 100 is one core's. */
  readonly cpuWeight?: number | undefined;
  /** Never more cores than that, idle or not. */
  readonly cpus?: number | undefined;
  /** At the bound the kernel ends it, all of its processes at once. */
  readonly memoryBytes?: number | undefined;
  /** Above it gives back what can be read again, and is slowed down to a crawl when that is not enough. */
  readonly memoryHighBytes?: number | undefined;
  /** Processes and threads. */
  readonly pids?: number | undefined;
}

/** The processes of one run, wherever they went: leaving a session or a process group does not lead out of it. */
export interface Cgroup {
  /** Its place in the file system. */
  readonly path: string;
  members(): number[];
  /** How many of its processes the kernel has ended for want of memory. */
  oomKills(): number;
  /** How often it was to have more processes than it may. */
  refusedForks(): number;
  kill(): void;
  /** Kills what is left, and removes the group. */
  end(signal: AbortSignal): Promise<void>;
}

export interface Cgroups {
  /** What the kernel limits here; where it is nothing, groups still hold processes together. */
  readonly controllers: ReadonlySet<Controller>;
  /** Throws when the group cannot be made as it should be. */
  make(name: string, limits: CgroupLimits): Cgroup;
  /** A group that an earlier agent made; undefined when `path` is none of ours. */
  find(path: string): Cgroup | undefined;
}

export interface FoundCgroups {
  /** Absent where none can be made. */
  readonly cgroups?: Cgroups;
  /** What is not limited, why, and what helps. */
  readonly warnings: readonly string[];
}

/** The leaf that an agent is in below a subtree that systemd has given it (`DelegateSubgroup=`). */
const agentLeaf = 'agent';
const prefix = 'mesolite-';
const cpuPeriodUs = 100_000;
/** Of all processes that there can be on the machine: what is left is for the agent, and for whoever comes to look. */
const tasksShare = 0.75;
/** How often, and how many times, a group that should be empty is looked at: a small board needs its time to bury a thousand processes. */
const emptyMs = 25;
const emptyRounds = 1_200;

const noTree = 'tasks are in no cgroups (their memory is watched instead): ';
const howToGet =
  'run the agent as root, or give its systemd unit Delegate=yes and DelegateSubgroup=agent, which systemd 254 and newer know';
const howToSwitch = 'boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all on the kernel\u2019s command line';
const howToEnable =
  'add cgroup_enable=memory cgroup_memory=1 to the kernel\u2019s command line (on a Raspberry Pi to the one line of /boot/firmware/cmdline.txt) and reboot';

/**
 * Prepares the groups of tasks: below the subtree that systemd has delegated, where this process is in its leaf `agent`; else,
 * as root, at the top, where a restart of the agent's unit does not meet them. `owner` tells the agents of a machine apart.
 */
export function openCgroups(
  { tree, clock }: { readonly tree: CgroupTree | undefined; readonly clock: Clock },
  { owner, isRoot }: { readonly owner: string; readonly isRoot: boolean },
): FoundCgroups {
  if (tree === undefined) return { warnings: [`${noTree}this system has no cgroup v2: ${howToSwitch}`] };
  if (!isDelegated(tree) && !isRoot) return { warnings: [`${noTree}none was delegated: ${howToGet}`] };
  const base = isDelegated(tree) ? posix.dirname(tree.own) : '/';
  const parent = posix.join(base, `${prefix}${owner}`);
  let enabled: ReadonlySet<Controller>;
  try {
    enable(tree, base);
    enabled = openParent(tree, parent);
  } catch (error) {
    return { warnings: [`${noTree}${messageOf(error)}: ${howToGet}`] };
  }
  // what runs that never began have left
  for (const name of tree.list(parent)) attempt(() => tree.remove(posix.join(parent, name)));
  attempt(() => tree.remove(parent));
  const missing = controllers.filter(each => !enabled.has(each));
  return { cgroups: makeCgroups(tree, clock, parent, enabled), warnings: describeMissing(tree, missing) };
}

/** What the kernel cannot limit here for the agent whose tree that is, and what helps; reads, and changes nothing. */
export function missingControllers(tree: CgroupTree | undefined, isRoot: boolean): readonly string[] {
  if (tree === undefined) return [`${noTree}this system has no cgroup v2: ${howToSwitch}`];
  if (!isRoot && !isDelegated(tree)) return [`${noTree}none was delegated: ${howToGet}`];
  const has = tree.read('/cgroup.controllers').split(/\s+/);
  return describeMissing(
    tree,
    controllers.filter(each => !has.includes(each)),
  );
}

function isDelegated({ own }: CgroupTree): boolean {
  return posix.basename(own) === agentLeaf;
}

/** The group above those of the runs is there while they are. */
function openParent(tree: CgroupTree, parent: string): ReadonlySet<Controller> {
  if (!attempt(() => tree.list(parent))) tree.make(parent);
  const enabled = new Set(enable(tree, parent));
  const most = Math.floor(tree.maxProcesses * tasksShare);
  if (enabled.has('pids')) tree.write(posix.join(parent, 'pids.max'), `${most}`);
  return enabled;
}

/** Hands the controllers that there are on to the groups below; returns those. */
function enable(tree: CgroupTree, path: string): Controller[] {
  for (const name of controllers) attempt(() => tree.write(posix.join(path, 'cgroup.subtree_control'), `+${name}`));
  const words = tree.read(posix.join(path, 'cgroup.subtree_control')).split(/\s+/);
  return controllers.filter(name => words.includes(name));
}

/** A sentence for each reason why controllers are missing, with what helps. */
function describeMissing(tree: CgroupTree, missing: readonly Controller[]): string[] {
  const reasons = new Map<string, Controller[]>();
  for (const each of missing) {
    const reason = whyMissing(tree, each);
    reasons.set(reason, [...(reasons.get(reason) ?? []), each]);
  }
  return [...reasons].map(([reason, names]) => {
    const instead = names.includes('memory') ? ' (their memory is watched instead)' : '';
    return `the kernel does not limit ${names.join(', ')} of tasks${instead}: ${reason}`;
  });
}

function whyMissing(tree: CgroupTree, controller: Controller): string {
  if (tree.isTaken(controller)) return `cgroup v1 has what would: ${howToSwitch}`;
  const isThere = tree.read('/cgroup.controllers').split(/\s+/).includes(controller);
  if (isThere) return `the controller was not delegated: ${howToGet}`;
  return `the controller is off${controller === 'memory' ? `: ${howToEnable}` : ''}`;
}

function makeCgroups(tree: CgroupTree, clock: Clock, parent: string, enabled: ReadonlySet<Controller>): Cgroups {
  const make = (path: string): Cgroup => makeCgroup(tree, clock, path, enabled);
  return {
    controllers: enabled,
    make(name, limits) {
      const path = posix.join(parent, name);
      openParent(tree, parent);
      try {
        tree.make(path);
        for (const [file, text] of settingsOf(limits, enabled)) tree.write(posix.join(path, file), text);
        // one of whose processes is missing is worse off than one that begins again; before Linux 4.19 there is no such file
        attempt(() => tree.write(posix.join(path, 'memory.oom.group'), '1'));
        // a card is not memory; kernels without swap have no such file
        if (limits.memoryBytes !== undefined) attempt(() => tree.write(posix.join(path, 'memory.swap.max'), '0'));
      } catch (cause) {
        remove(tree, path);
        throw cause;
      }
      return make(path);
    },
    find(at) {
      // what a file says that a task might have written to
      const path = at.startsWith(`${tree.mount}/`) ? posix.join('/', at.slice(tree.mount.length)) : '';
      return posix.dirname(path) === parent && attempt(() => tree.list(path)) ? make(path) : undefined;
    },
  };
}

/** The files of a group and what is written to them (cgroup-v2.rst). */
function settingsOf(limits: CgroupLimits, enabled: ReadonlySet<Controller>): (readonly [string, string])[] {
  const { cpuWeight, cpus, memoryBytes, memoryHighBytes, pids } = limits;
  const settings: (readonly [string, string])[] = [];
  const set = (controller: Controller, file: string, text: string) => {
    if (enabled.has(controller)) settings.push([file, text]);
  };
  if (cpuWeight !== undefined) set('cpu', 'cpu.weight', String(Math.min(10_000, Math.max(1, Math.round(cpuWeight)))));
  // the kernel takes no less than 1 ms
  if (cpus !== undefined) set('cpu', 'cpu.max', `${Math.max(1_000, Math.round(cpus * cpuPeriodUs))} ${cpuPeriodUs}`);
  if (memoryHighBytes !== undefined) set('memory', 'memory.high', String(memoryHighBytes));
  if (memoryBytes !== undefined) set('memory', 'memory.max', String(memoryBytes));
  // the shim is one of them
  if (pids !== undefined) set('pids', 'pids.max', String(pids + 1));
  return settings;
}

function makeCgroup(tree: CgroupTree, clock: Clock, path: string, enabled: ReadonlySet<Controller>): Cgroup {
  const file = (name: string) => `${path}/${name}`;
  const members = () => readLines(tree, file('cgroup.procs')).map(Number);
  const kill = () => {
    if (attempt(() => tree.write(file('cgroup.kill'), '1'))) return;
    // before Linux 5.14: what cannot fork any more can be ended one by one
    if (enabled.has('pids')) attempt(() => tree.write(file('pids.max'), '0'));
    for (const pid of members()) attempt(() => process.kill(pid, 'SIGKILL'));
  };
  return {
    path: posix.join(tree.mount, path),
    members,
    oomKills: () => readCounter(tree, file('memory.events'), 'oom_kill'),
    refusedForks: () => readCounter(tree, file('pids.events'), 'max'),
    kill,
    async end(signal) {
      for (let round = 0; round < emptyRounds; round++) {
        if (remove(tree, path)) return void attempt(() => tree.remove(posix.dirname(path)));
        kill();
        if (!(await clock.sleep(emptyMs, signal))) return;
      }
    },
  };
}

/** Removes a group with those that its task has made in it; false while a process is in one of them. */
function remove(tree: CgroupTree, path: string): boolean {
  if (!attempt(() => tree.list(path))) return true;
  for (const name of tree.list(path)) remove(tree, posix.join(path, name));
  return attempt(() => tree.remove(path));
}

/** One of a file of counters; 0 where the kernel does not count it. */
function readCounter(tree: CgroupTree, path: string, name: string): number {
  const line = readLines(tree, path).find(each => each.startsWith(`${name} `));
  return Number(line?.slice(name.length) ?? 0);
}

function readLines(tree: CgroupTree, path: string): string[] {
  try {
    return tree.read(path).split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

function attempt(act: () => unknown): boolean {
  try {
    act();
    return true;
  } catch {
    return false;
  }
}

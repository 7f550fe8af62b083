import { posix } from 'node:path';
import type { Test } from 'tap';
import { openCgroups } from '../../src/device/cgroup.ts';
import type { CgroupTree } from '../../src/device/cgroup-tree.ts';
import { systemClock } from '../../src/device/clock.ts';

export interface CgroupStage {
  readonly tree: CgroupTree;
  /** A process, which may be one by name alone. */
  readonly newProcess: () => number;
}

/** What holds for a tree of cgroups, the kernel's and the fake; what no controller does there is left out. */
export function cgroupContract(t: Test, { tree, newProcess }: CgroupStage): void {
  const { signal } = new AbortController();
  const owner = `contract-${process.pid}`;
  const open = () => {
    const { cgroups } = openCgroups({ tree, clock: systemClock }, { owner, isRoot: true });
    if (cgroups === undefined) throw new Error('no group can be made');
    return cgroups;
  };
  const inTree = (path: string, file = '') => posix.join('/', path.slice(tree.mount.length), file);
  const enter = (path: string, pid: number) => tree.write(inTree(path, 'cgroup.procs'), `${pid}`);

  t.test('a run has a group with its limits, in which its processes are until it ends', async t => {
    const cgroups = open();
    const mega = 1024 * 1024;
    const limits = { cpuWeight: 50, cpus: 0.25, memoryHighBytes: 64 * mega, memoryBytes: 128 * mega, pids: 20 };
    const group = cgroups.make('task.run.a', limits);
    const settings = [
      ['cpu', 'cpu.max', '25000 100000'],
      ['cpu', 'cpu.weight', '50'],
      ['memory', 'memory.high', `${64 * mega}`],
      ['memory', 'memory.max', `${128 * mega}`],
      ['memory', 'memory.oom.group', '1'],
      ['pids', 'pids.max', '21'],
      ['pids', '../pids.max', `${Math.floor(tree.maxProcesses * 0.75)}`],
    ] as const;
    for (const [controller, file, text] of settings) {
      if (cgroups.controllers.has(controller)) t.equal(tree.read(inTree(group.path, file)).trim(), text, file);
    }
    const [one, two] = [newProcess(), newProcess()];
    enter(group.path, one);
    enter(group.path, two);
    t.same(
      group.members(),
      [one, two].sort((a, b) => a - b),
    );
    t.equal(group.oomKills(), 0);
    t.equal(group.refusedForks(), 0);
    await group.end(signal);
    t.throws(() => tree.list(inTree(group.path)), 'killed, and removed');
    await group.end(signal);
    t.pass('that twice is nothing');
  });

  t.test(
    'another agent finds the group of a run, removes what nothing is in, and takes no other path for one',
    async t => {
      const cgroups = open();
      const [kept, empty] = [cgroups.make('task.run.b', {}), cgroups.make('task.run.c', {})];
      enter(kept.path, newProcess());
      tree.make(inTree(kept.path, 'own'));
      const again = open();
      t.throws(() => tree.list(inTree(empty.path)));
      const found = again.find(kept.path);
      t.equal(found?.members().length, 1);
      for (const path of [
        '',
        tree.mount,
        posix.dirname(kept.path),
        `${kept.path}/own`,
        `${kept.path}/../..`,
        '/elsewhere',
      ]) {
        t.equal(again.find(path), undefined, path);
      }
      await found?.end(signal);
      t.equal(again.find(kept.path), undefined, 'with the group that its task has made in it');
      t.throws(() => tree.list(`/mesolite-${owner}`), 'and nothing is left');
    },
  );
}

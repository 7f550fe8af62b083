import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { type FoundCgroups, missingControllers, openCgroups } from '../../src/device/cgroup.ts';
import { findCgroupTree } from '../../src/device/cgroup-tree.ts';
import { systemClock } from '../../src/device/clock.ts';
import { cgroupContract } from '../contracts/cgroup-contract.ts';
import { FakeCgroups } from '../fixtures/fake-cgroups.ts';

function open(tree: FakeCgroups | undefined, isRoot = true): FoundCgroups {
  return openCgroups({ tree, clock: systemClock }, { owner: 'one', isRoot });
}

t.test('the fake', async t => {
  let pids = 100;
  cgroupContract(t, { tree: new FakeCgroups(), newProcess: () => ++pids });
});

const tree = findCgroupTree();
const canMake = tree !== undefined && process.getuid?.() === 0 && canWrite();

t.test('the kernel', { skip: !canMake && 'cgroups can be made here by root alone, and on cgroup v2' }, async t => {
  if (tree !== undefined) cgroupContract(t, { tree, newProcess: () => sleeper(t) });
});

function canWrite(): boolean {
  try {
    tree?.make('/mesolite-probe');
    tree?.remove('/mesolite-probe');
    return true;
  } catch {
    return false;
  }
}

function sleeper(t: Test): number {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return child.pid ?? 0;
}

t.test('below a subtree that systemd has delegated the groups are beside the agent', async t => {
  const own = '/system.slice/mesolite.service/agent';
  const tree = new FakeCgroups({ own });
  tree.write(`${own}/cgroup.procs`, '7');
  const { cgroups, warnings } = open(tree, false);
  t.same(warnings, []);
  t.same([...(cgroups?.controllers ?? [])], ['cpu', 'memory', 'pids']);
  t.equal(cgroups?.make('a', {}).path, '/fake/system.slice/mesolite.service/mesolite-one/a');
});

t.test('what cannot be limited is told with what helps', async t => {
  t.match(open(undefined), { warnings: [/no cgroup v2: boot with systemd\.unified_cgroup_hierarchy=1/] });
  t.match(open(new FakeCgroups({ own: '/user.slice/session-1.scope' }), false).warnings, [
    /none was delegated: .*Delegate=yes and DelegateSubgroup=agent/,
  ]);
  const before254 = new FakeCgroups({ own: '/system.slice/mesolite-agent.service' });
  t.match(missingControllers(before254, false), [/none was delegated: .*systemd 254/]);
  t.same(missingControllers(before254, true), [], 'root makes them at the top');
  const pi = open(new FakeCgroups({ controllers: ['cpu', 'pids'] }));
  t.same([...(pi.cgroups?.controllers ?? [])], ['cpu', 'pids']);
  t.match(pi.warnings, [
    /^the kernel does not limit memory of tasks \(their memory is watched instead\): .*add cgroup_enable=memory cgroup_memory=1 to .*cmdline\.txt/,
  ]);
  const hybrid = open(new FakeCgroups({ controllers: [], taken: ['cpu', 'memory', 'pids'] }));
  t.match(hybrid.warnings, [/limit cpu, memory, pids of tasks .*: cgroup v1 has what would/]);
  t.equal(hybrid.warnings.length, 1, 'once for all that it is the reason of');
  const busy = new FakeCgroups({ own: '/box/agent' });
  busy.write('/box/cgroup.procs', '1');
  t.match(open(busy, false).warnings, [/not delegated/]);
});

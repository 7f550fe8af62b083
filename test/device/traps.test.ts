import t from 'tap';
import { hasOwnClock, trapsHere } from '../../src/device/traps.ts';
import type { TrapSign } from '../../src/model/profile.ts';

const trap = (when?: TrapSign) => ({ trap: when ?? 'always', fix: 'x', ...(when && { when }) });
const traps = [trap(), trap('memory-controller-off'), trap('no-clock'), trap('pages-of-16-kib')];
const seen = (root: string) => trapsHere({ traps }, root).map(each => each.trap);

t.test('a Raspberry Pi as it is sold is in the traps of its profile', async t => {
  const root = t.testdir({
    sys: { class: { rtc: {} }, fs: { cgroup: { 'cgroup.controllers': 'cpuset cpu io pids\n' } } },
    proc: { self: { smaps: '5555-5556 r--p\nSize:  16 kB\nKernelPageSize:       16 kB\nMMUPageSize:  16 kB\n' } },
  });
  t.same(seen(root), ['always', 'memory-controller-off', 'no-clock', 'pages-of-16-kib']);
});

t.test('what has been mended is not told any more', async t => {
  const root = t.testdir({
    sys: { class: { rtc: { rtc0: {} } }, fs: { cgroup: { 'cgroup.controllers': 'cpuset cpu io memory pids\n' } } },
    proc: { self: { smaps: 'Size:  4 kB\nKernelPageSize:        4 kB\n' } },
  });
  t.same(seen(root), ['always', 'no-clock'], 'nobody sees whether a clock has a battery');
});

t.test('a clock goes on without power where there is one, unless the profile knows better', async t => {
  t.notOk(hasOwnClock({ traps: [] }, t.testdir({ sys: { class: { rtc: {} } } })));
  const root = t.testdir({ sys: { class: { rtc: { rtc0: {} } } } });
  t.ok(hasOwnClock({ traps: [trap()] }, root));
  t.notOk(hasOwnClock({ traps: [trap('no-clock')] }, root));
});

t.test('cgroups of version 1 tell whether the kernel has the controller on', async t => {
  const board = (enabled: number) =>
    t.testdir({
      proc: { cgroups: `#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\nmemory\t0\t77\t${enabled}\n` },
      sys: { class: { rtc: { rtc0: {} } } },
    });
  t.same(seen(board(0)), ['always', 'memory-controller-off', 'no-clock']);
  t.same(seen(board(1)), ['always', 'no-clock']);
});

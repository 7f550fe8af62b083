import { join } from 'node:path';
import type { FirmwareProfile, Trap, TrapSign } from '../model/profile.ts';
import { namesIn, textOf } from './kernel-files.ts';

const signs: Readonly<Record<TrapSign, (root: string) => boolean>> = {
  'memory-controller-off': isMemoryControllerOff,
  // many a board has the chip without a battery, and that nobody sees
  'no-clock': () => true,
  'pages-of-16-kib': root => /^KernelPageSize: +16 kB$/m.test(textOf(join(root, 'proc/self/smaps'))),
};

/** The traps that this board is in, and those of which nobody can tell. */
export function trapsHere({ traps }: Pick<FirmwareProfile, 'traps'>, root = '/'): readonly Trap[] {
  return traps.filter(({ when }) => when === undefined || signs[when](root));
}

/** Does a clock go on here while the board has no power? The profile knows of boards whose clock has no battery. */
export function hasOwnClock({ traps }: Pick<FirmwareProfile, 'traps'>, root = '/'): boolean {
  if (traps.some(({ when }) => when === 'no-clock')) return false;
  return namesIn(join(root, 'sys/class/rtc')).length > 0;
}

/** cgroups(7): of version 2 what the root has, of version 1 the last column. */
function isMemoryControllerOff(root: string): boolean {
  const unified = textOf(join(root, 'sys/fs/cgroup/cgroup.controllers'));
  if (unified !== '') return !unified.split(/\s+/).includes('memory');
  return /^memory\t\d+\t\d+\t0$/m.test(textOf(join(root, 'proc/cgroups')));
}

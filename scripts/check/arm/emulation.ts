import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Ended, watchProgram } from '../debian/program.ts';

/** What is run as if on a board, by Debian's name. */
export type Architecture = 'amd64' | 'arm64' | 'armhf';

/** What this machine runs without an emulator. */
const own = new Map<string, Architecture>([
  ['x64', 'amd64'],
  ['arm64', 'arm64'],
  ['arm', 'armhf'],
]).get(process.arch);
const qemuNames = { amd64: 'x86_64', arm64: 'aarch64', armhf: 'arm' } as const;

/** Programs that this file calls, and Debian's packages with them. */
export function emulationPrograms(architectures: readonly Architecture[]): Readonly<Record<string, string>> {
  const emulated = architectures.filter(each => each !== own);
  return {
    ...Object.fromEntries(emulated.map(each => [`qemu-${qemuNames[each]}-static`, 'qemu-user-static'])),
    unshare: 'util-linux',
    setpriv: 'util-linux',
    ip: 'iproute2',
  };
}

const registry = '/proc/sys/fs/binfmt_misc';

/** Lets the kernel start programs of `architecture` by qemu, as Debian's package has it done at boot; the returned function ends that. */
export async function registerEmulator(architecture: Architecture): Promise<() => void> {
  if (architecture === own) return () => {};
  const name = `qemu-${qemuNames[architecture]}`;
  const entry = join(registry, name);
  if (!existsSync(join(registry, 'register'))) {
    const { code, output } = await watchProgram('mount', ['-t', 'binfmt_misc', 'binfmt_misc', registry]);
    if (code !== 0) throw new Error(`the kernel has no binfmt_misc: ${output.trim()}`);
  }
  if (existsSync(entry)) return () => {};
  const line = readFileSync(join('/usr/lib/binfmt.d', `${name}.conf`), 'utf8');
  writeFileSync(join(registry, 'register'), line);
  return () => writeFileSync(entry, '-1');
}

/** Mounts and ends with what runs in it: nothing of it is seen outside, and the tree and the project stay as they are. */
const enter = `
set -e
tree=$1 project=$2 work=$3; shift 3
ip link set lo up
mkdir "$work/root" "$work/upper" "$work/own" "$work/project" "$work/project-own"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$work/upper,workdir=$work/own" "$work/root"
cd "$work/root"
mkdir mesolite
mount -t overlay overlay -o "lowerdir=$project,upperdir=$work/project,workdir=$work/project-own" mesolite
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount --make-rslave dev
for each in dev/shm tmp run; do mount -t tmpfs tmpfs "$each"; done
exec chroot . /usr/bin/env -C /mesolite -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
`;

export interface EmulatedSystem {
  readonly tree: string;
  /** Folders that are seen as /mesolite, the first above the others. */
  readonly project: readonly string[];
  /** For what is written meanwhile. */
  readonly cache: string;
}

/**
 * Runs a command in /mesolite of a system of its own: root, processes, loopback and files are its alone, and all that it has started ends with
 * it.
 */
export async function runEmulated(
  { tree, project, cache }: EmulatedSystem,
  command: readonly string[],
  { env = {}, timeoutMs }: { readonly env?: Readonly<Record<string, string>>; readonly timeoutMs: number },
): Promise<Ended> {
  const work = mkdtempSync(join(cache, 'run-'));
  try {
    const namespaces = ['--mount', '--pid', '--net', '--ipc', '--uts', '--fork', '--kill-child'];
    const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const args = ['sh', '-c', enter, 'sh', tree, project.join(':'), work, ...settings, ...command];
    // nor does it outlive a check that was ended
    return await watchProgram('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...namespaces, ...args], { timeoutMs });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from './program.ts';

export interface TreeSettings {
  readonly architecture: 'amd64' | 'arm64' | 'armhf';
  /** Beside what is essential. */
  readonly packages: readonly string[];
  /** Where it is kept for later runs. */
  readonly cache: string;
  /** The packages' own scripts run, too: by the emulator that takes minutes, and what is not booted needs none. */
  readonly isConfigured: boolean;
}

/** Programs that `makeTree` calls, and Debian's packages with them. */
export const treePrograms = { mmdebstrap: 'mmdebstrap' };

const suite = 'trixie';
const madeFile = 'etc/mesolite-packages';

/** Without updates: a mirror may be in the midst of them, and what is kept here would not get them. */
const releaseAlone = `sed -i '/ ${suite}-/d' "$1/etc/apt/sources.list"`;

/** What dpkg and the packages' scripts would have noted, for those that were unpacked without. */
const noteUnpacked = `for deb in "$1"/var/cache/apt/archives/*.deb; do
  dpkg-deb --field "$deb" | sed '/^Package:/a Status: install ok installed'; echo
done > "$1/var/lib/dpkg/status"
for file in passwd group; do cp "$1/usr/share/base-passwd/$file.master" "$1/etc/$file"; done
for kind in account auth password session; do echo "$kind required pam_permit.so" > "$1/etc/pam.d/common-$kind"; done`;
/** Of Debian's essential packages those that ours, their scripts and the tests call. */
const base =
  'base-files base-passwd bash bsdutils coreutils dash diffutils dpkg findutils grep gzip hostname init-system-helpers libc-bin perl-base sed tar util-linux';

/** A Debian of an architecture as a folder: made anew when it is not there, or other packages are wanted. */
export async function makeTree({ architecture, packages, cache, isConfigured }: TreeSettings): Promise<string> {
  const tree = join(cache, `${suite}-${architecture}`);
  const all = isConfigured ? packages : [...base.split(' '), ...packages];
  const wanted = `${all.join()}\n`;
  const made = join(tree, madeFile);
  if (existsSync(made) && readFileSync(made, 'utf8') === wanted) return tree;
  const unfinished = `${tree}.new`;
  mkdirSync(cache, { recursive: true });
  for (const each of [tree, unfinished]) rmSync(each, { recursive: true, force: true });
  const unpacked = ['--variant=extract', `--extract-hook=${noteUnpacked}`];
  const options = [`--architectures=${architecture}`, `--include=${all.join()}`, `--setup-hook=${releaseAlone}`];
  const variant = isConfigured ? ['--variant=essential'] : unpacked;
  await runProgram('mmdebstrap', ['--quiet', ...variant, ...options, suite, unfinished]);
  // the names that a system installer gives
  writeFileSync(join(unfinished, 'etc/hosts'), '127.0.0.1 localhost\n::1 localhost\n');
  writeFileSync(join(unfinished, madeFile), wanted);
  renameSync(unfinished, tree);
  return tree;
}

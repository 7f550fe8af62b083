/**
 * Builds Debian packages of this checkout into `--out` (default build/packages): `mesolite` for all architectures, `mesolite-master` for
 * those whose database library npm has installed, and with `--runtime` a `mesolite` that brings its own Node.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { buildDeb } from './deb.ts';
import { agentPackage, librariesHere, masterPackage } from './packages.ts';
import { readRuntimes } from './runtime.ts';

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: 'build/packages' },
    runtime: { type: 'string', multiple: true, default: [] },
    sha256: { type: 'string' },
  },
});

/** The date of everything in the packages (reproducible-builds.org): that of the commit, unless it is given. */
process.env.SOURCE_DATE_EPOCH ??= commitTime();
const { version }: { version: string } = JSON.parse(readFileSync('package.json', 'utf8'));
const runtimes = values.runtime.flatMap(from => readRuntimes(from, values.sha256));
const packages = [
  agentPackage(version),
  ...runtimes.map(runtime => agentPackage(version, runtime)),
  ...librariesHere().map(library => masterPackage(version, library)),
];
for (const made of packages) {
  const path = buildDeb(made, values.out);
  console.log(`${path}  ${(statSync(path).size / 1e6).toFixed(1)} MB`);
}

function commitTime(): string {
  try {
    return execFileSync('git', ['log', '-1', '--format=%ct'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return `${Math.floor(statSync('package.json').mtimeMs / 1000)}`;
  }
}

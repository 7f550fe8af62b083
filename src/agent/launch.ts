import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { lockHolder } from '../device/directory-lock.ts';
import { afterStart, installedVersion } from '../lifecycle/agent-version.ts';
import { hasVersions, openVersions, programOf } from './agent-versions.ts';

/** Names to a process that takes over which version it shall run. */
export const versionVariable = 'MESOLITE_VERSION';

/** A program to run in place of the installed one. */
export interface Launched {
  readonly version: string;
  readonly program: string;
}

/**
 * Which version a start of `mesolite agent` runs, undefined where it is the installed one. It touches nothing when it was told: then the
 * agent before it still works in the directory.
 */
export async function versionToRun(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Launched | undefined> {
  const told = env[versionVariable];
  delete env[versionVariable];
  const { values } = parseArgs({ args: [...args], options: { data: { type: 'string' } }, strict: false });
  const dataDir = resolve(typeof values.data === 'string' ? values.data : defaultDataDir);
  if (!hasVersions(dataDir)) return undefined;
  // the installed one says that it cannot start beside another, and no start of the one that runs was in vain
  if (told === undefined && (await lockHolder(dataDir)) !== undefined) return undefined;
  const version = told ?? (await versionAtStart(dataDir));
  const program = programOf(dataDir, version);
  return program === undefined ? undefined : { version, program };
}

export const defaultDataDir = '.mesolite/agent';

async function versionAtStart(dataDir: string): Promise<string> {
  try {
    const versions = await openVersions(dataDir);
    const isHere = (id: string) => id === installedVersion || versions.programOf(id) !== undefined;
    await versions.change(state => afterStart(state, isHere));
    return versions.state.value.current;
  } catch (error) {
    // an agent of any version is better than none
    console.error(`mesolite: the installed version runs, as ${dataDir}/versions cannot be used: ${error}`);
    return installedVersion;
  }
}

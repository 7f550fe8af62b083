import { constants, type Stats } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';

/** The path that a shell looks in when the environment has none. */
const defaultPath = '/usr/local/bin:/usr/bin:/bin';

/** Why a command cannot be run, in a sentence; undefined when it can, as far as one can tell without running it. */
export async function whyNotExecutable(
  name: string,
  env: Readonly<Record<string, string>>,
  directory: string,
): Promise<string | undefined> {
  if (name === '') return 'the command is empty';
  if (name.includes('/')) return explainFile(isAbsolute(name) ? name : resolve(directory, name), name);
  const path = env.PATH ?? defaultPath;
  let found: string | undefined;
  for (const folder of path.split(':')) {
    const why = await explainFile(join(resolve(directory, folder), name), name);
    if (why === undefined) return undefined;
    if (!why.endsWith(notFound)) found ??= why;
  }
  return found ?? `${name}: ${notFound} in PATH ${path}`;
}

const notFound = 'command not found';

async function explainFile(path: string, name: string): Promise<string | undefined> {
  let file: Stats;
  try {
    file = await stat(path);
  } catch {
    return `${name}: ${notFound}`;
  }
  if (file.isDirectory()) return `${path}: is a directory, not a command`;
  try {
    await access(path, constants.X_OK);
    return undefined;
  } catch {
    return `${path}: not executable (mode ${(file.mode & 0o7777).toString(8).padStart(4, '0')}): chmod +x helps`;
  }
}

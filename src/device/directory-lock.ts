import { link, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MesoliteError } from '../base/errors.ts';
import { newId } from './dice.ts';
import { cannotWriteIn, codeOf, isFull } from './file-errors.ts';
import { readPlainly } from './file-operations.ts';
import { identify, isAlive } from './process-identity.ts';

const fileName = 'lock';
/** A lock that another process has left is removed and tried again; somebody else may be quicker. */
const tries = 5;

/**
 * Keeps a directory for this process, making it where needed; the returned function lets it go. Who holds it is in a file there, with the
 * start of the process and the number of the directory, so that neither a power cut nor a copy of the directory keeps anybody out. Where the
 * disk is full and nobody has the directory `makeRoom` is called, and the file of who has ended gives its room. Throws START_FAILED when a process that lives has it.
 */
export async function lockDirectory(
  directory: string,
  makeRoom: () => Promise<void> = async () => {},
): Promise<() => Promise<void>> {
  const path = join(directory, fileName);
  await mkdir(directory, { recursive: true, mode: 0o700 }).catch(cause => {
    throw cannotWriteIn(directory, cause);
  });
  const own = await describeHolder(directory);
  const clearAway = async () => {
    const pid = await holderOf(path, directory);
    if (pid !== undefined) {
      const advice = 'stop it first, or give this one a directory of its own with --data';
      throw new MesoliteError('START_FAILED', `another agent (process ${pid}) works in ${directory}: ${advice}`);
    }
    await rm(path, { force: true });
  };
  const makeAllRoom = async () => {
    await clearAway();
    await makeRoom();
  };
  for (let i = 0; i < tries; i++) {
    if (await create(path, own, makeAllRoom)) return () => rm(path, { force: true });
    await clearAway();
  }
  throw new MesoliteError('START_FAILED', `${path} cannot be had: another agent starts in the same moment`);
}

async function describeHolder(directory: string): Promise<string> {
  const identity = await identify(process.pid);
  const { dev, ino } = await stat(directory);
  return `${[identity?.pid, identity?.boot, identity?.start, `${dev}:${ino}`].join('\n')}\n`;
}

/** The file is there whole or not at all: nobody may take one that is half written for one that was left. */
async function create(path: string, text: string, makeRoom: () => Promise<void>): Promise<boolean> {
  const whole = `${path}.${newId()}`;
  const write = () => writeFile(whole, text, { mode: 0o600 });
  try {
    await write().catch(async cause => {
      if (!isFull(cause)) throw cause;
      await makeRoom();
      await write();
    });
    await link(whole, path);
    return true;
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') return false;
    if (cause instanceof MesoliteError) throw cause;
    throw cannotWriteIn(dirname(path), cause);
  } finally {
    await rm(whole, { force: true });
  }
}

/** The process that has the directory; undefined when none lives that has. */
export function lockHolder(directory: string): Promise<number | undefined> {
  return holderOf(join(directory, fileName), directory);
}

async function holderOf(path: string, directory: string): Promise<number | undefined> {
  const text = await readFile(path, { encoding: 'utf8', flag: readPlainly }).catch(() => '');
  const [pid = '', boot = '', start = '', place = ''] = text.split('\n');
  const { dev, ino } = await stat(directory);
  if (place !== `${dev}:${ino}` || !/^\d{1,10}$/.test(pid)) return undefined;
  return (await isAlive({ pid: Number(pid), boot, start })) ? Number(pid) : undefined;
}

import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { MesoliteError, messageOf } from '../base/errors.ts';

/** statfs(2): file systems that are memory; what is in them is gone with the power. */
const inMemory: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** A directory that is never on a disk, and there while something is in it; others find their way to what is theirs in it, and see nothing else. */
export interface MemoryDirectory {
  readonly path: string;
  /** Writes a file whole, readable by its owner alone: `owner`, who can change nothing here, or this process' own user. */
  write(folder: string, file: string, bytes: Uint8Array, owner?: Owner): void;
  /**
   * Makes these the files of a folder, all at once: `folder` becomes a link to another one, and the one before stays until the next time, for who has
   * just opened it. Nothing happens where they are there already.
   */
  swap(folder: string, files: Readonly<Record<string, string>>, owner?: Owner): void;
  /** Removes all folders but these. */
  keep(folders: ReadonlySet<string>): void;
}

/** Makes `name` in the first of `places` that is memory; throws START_FAILED with why none is. */
export function openMemoryDirectory(places: readonly string[], name: string): MemoryDirectory {
  const reasons: string[] = [];
  for (const place of places) {
    try {
      if (!inMemory.has(statfsSync(place).type)) reasons.push(`${place} is on a disk`);
      else return openAt(join(place, name));
    } catch (error) {
      reasons.push(`${place}: ${messageOf(error)}`);
    }
  }
  throw new MesoliteError('START_FAILED', `no place in memory for secrets (tmpfs): ${reasons.join('; ')}`);
}

function openAt(path: string): MemoryDirectory {
  make(path);
  clear(path);
  /** What is in a folder is not read again, since its owner may be whoever. */
  const written = new Map<string, string>();
  const draft = join(path, '~');

  function write(folder: string, file: string, bytes: string | Uint8Array, owner?: Owner): void {
    make(path);
    const directory = join(path, folder);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    // made where only this process writes: links that an owner put into his folder lead nowhere
    rmSync(draft, { force: true });
    writeFileSync(draft, bytes, { mode: 0o400, flag: 'wx' });
    if (owner !== undefined) {
      chownSync(draft, owner.uid, owner.gid);
      // its owner looks into the folder and changes nothing
      chownSync(directory, process.getuid?.() ?? 0, owner.gid);
      chmodSync(directory, 0o750);
    }
    renameSync(draft, join(directory, file));
  }

  return {
    path,
    write,
    swap(folder, files, owner) {
      const link = join(path, folder);
      const before = targetOf(link);
      const text = JSON.stringify([files, owner]);
      if (before !== undefined && written.get(folder) === text) return;
      const next = `${folder}~${Number(before?.split('~')[1] ?? 0) + 1}`;
      for (const [file, text] of Object.entries(files)) write(next, file, text, owner);
      rmSync(`${link}~`, { force: true });
      symlinkSync(next, `${link}~`);
      renameSync(`${link}~`, link);
      written.set(folder, text);
      for (const each of readdirSync(path)) {
        if (each.startsWith(`${folder}~`) && each !== next && each !== before)
          rmSync(join(path, each), { recursive: true });
      }
    },
    keep(folders) {
      if (!existsSync(path)) return;
      for (const folder of written.keys()) if (!folders.has(folder)) written.delete(folder);
      for (const each of readdirSync(path)) {
        if (!folders.has(each.replace(/~\d*$/, ''))) rmSync(join(path, each), { recursive: true, force: true });
      }
      clear(path);
    },
  };
}

function targetOf(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined;
  }
}

function make(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  // others may write beside it, as in /dev/shm
  const { mode, uid } = lstatSync(path);
  const isOwn = uid === process.getuid?.() && [0o040_700, 0o040_711].includes(mode & 0o170_777);
  if (!isOwn) throw new Error(`${path} is not a directory of this user alone`);
  chmodSync(path, 0o711);
}

/** A node without secrets, and one that is gone for good, leaves no trace. */
function clear(path: string): void {
  if (readdirSync(path).length === 0) rmdirSync(path);
}

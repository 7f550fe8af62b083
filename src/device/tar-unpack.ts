import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { link, mkdir, open, realpath, symlink } from 'node:fs/promises';
import { dirname, join, posix, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip, gunzipSync, constants as zlib } from 'node:zlib';
import type { ReadEntry } from 'tar/read-entry';
import { isMesoliteError, MesoliteError, messageOf } from '../base/errors.ts';
import { explain } from './file-errors.ts';

/**
 * A directory that archives are unpacked into, which nobody else writes to meanwhile. INVARIANT: no symbolic link is in it before
 * `makeLinks`, so nothing that is written can be led out of it; what an archive would put elsewhere is refused.
 */
export interface UnpackTarget {
  readonly root: string;
  /** Symbolic links to make in the end: from a path below the root to what it says. */
  readonly links: Map<string, string>;
}

export interface UnpackBounds {
  readonly unpackedBytes: number;
  readonly unpackedEntries: number;
}

const magicAt = 257;

/** Is it a tar archive in gzip, by its first bytes? */
export async function isTarGz(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4096), 0, 4096, 0);
    const start = buffer.subarray(0, bytesRead);
    return start[0] === 0x1f && start[1] === 0x8b && isTar(gunzipSync(start, { finishFlush: zlib.Z_SYNC_FLUSH }));
  } catch {
    return false;
  } finally {
    await file.close();
  }
}

function isTar(start: Buffer): boolean {
  return start.toString('latin1', magicAt, magicAt + 5) === 'ustar';
}

/** Unpacks a tar.gz into `folder` of the target; returns how many bytes that are. Throws INVALID_INPUT or TOO_LARGE for the archive, UNAVAILABLE for the disk. */
export async function unpackTarGz(
  path: string,
  target: UnpackTarget,
  folder: string,
  bounds: UnpackBounds,
  signal: AbortSignal,
): Promise<number> {
  const { Parser } = await import('tar/parse');
  const problem = new AbortController();
  const stop = AbortSignal.any([signal, problem.signal]);
  let count = 0;
  let working: Promise<void> = Promise.resolve();
  const parser = new Parser({
    // what is odd is an error, not a warning
    strict: true,
    onReadEntry(entry: ReadEntry) {
      working = working.then(async () => {
        if (++count > bounds.unpackedEntries) throw tooMany(bounds);
        await putEntry(entry, target, folder, stop);
      });
      working.catch(error => problem.abort(error));
    },
  });
  parser.on('error', (error: unknown) => problem.abort(error));
  const source = createReadStream(path);
  // a file of 60 MB costs half of what it does in pieces of 16 KiB
  const gunzip = createGunzip({ chunkSize: 256 * 1024 });
  source.once('error', error => gunzip.destroy(error));
  let bytes = 0;
  try {
    for await (const piece of source.pipe(gunzip)) {
      stop.throwIfAborted();
      // the parser would take a second gzip inside, of any size
      if (bytes === 0 && !isTar(piece)) throw new MesoliteError('INVALID_INPUT', 'it is no tar archive');
      bytes += piece.length;
      if (bytes > bounds.unpackedBytes) {
        throw new MesoliteError('TOO_LARGE', `it unpacks to more than ${bounds.unpackedBytes} bytes`);
      }
      if (!parser.write(piece)) await once(parser, 'drain', { signal: stop });
    }
    const done = once(parser, 'end', { signal: stop });
    parser.end();
    await done;
    await working;
    return bytes;
  } catch (error) {
    // what is being written hears no more of it
    problem.abort(error);
    await working.catch(() => {});
    signal.throwIfAborted();
    throw asProblem(problem.signal.reason);
  } finally {
    source.destroy();
    gunzip.destroy();
  }
}

function tooMany({ unpackedEntries }: UnpackBounds): MesoliteError {
  return new MesoliteError('TOO_LARGE', `it has more than ${unpackedEntries} entries`);
}

const diskCodes: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EMFILE', 'ENFILE', 'EACCES']);

function asProblem(cause: unknown): MesoliteError {
  if (isMesoliteError(cause)) return cause;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (diskCodes.has(code)) return new MesoliteError('UNAVAILABLE', `cannot unpack: ${explain(cause)}`, { cause });
  return new MesoliteError('INVALID_INPUT', `it is damaged: ${messageOf(cause)}`, { cause });
}

async function putEntry(entry: ReadEntry, target: UnpackTarget, folder: string, signal: AbortSignal): Promise<void> {
  const inside = insideOf(entry.path);
  const name = posix.join(folder, inside);
  const path = join(target.root, name);
  switch (entry.type) {
    case 'Directory':
      await makeDirectory(path, entry.path);
      break;
    case 'File':
    case 'OldFile':
    case 'ContiguousFile':
      await makeDirectory(dirname(path), entry.path);
      await putFile(path, entry, signal);
      break;
    case 'Link':
      await makeDirectory(dirname(path), entry.path);
      await link(join(target.root, folder, insideOf(entry.linkpath ?? '')), path).catch(cause => {
        throw refused(entry.path, `a hard link to ${entry.linkpath}, which is no file before it`, cause);
      });
      break;
    case 'SymbolicLink':
      if (target.links.has(name)) throw refused(entry.path, 'is there twice');
      target.links.set(name, entry.linkpath ?? '');
      break;
    default:
      throw refused(entry.path, `a ${entry.type}, and only files, directories and links are unpacked`);
  }
  entry.resume();
}

/** The path of an entry without what says nothing; throws for one that leads elsewhere. */
function insideOf(path: string): string {
  const parts = path.split('/').filter(part => part !== '' && part !== '.');
  if (path.startsWith('/') || parts.includes('..')) throw refused(path, 'leads out of the directory');
  return parts.join('/') || '.';
}

async function makeDirectory(path: string, entry: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o755 }).catch(cause => {
    throw isClash(cause) ? refused(entry, 'is a file and a directory', cause) : cause;
  });
}

async function putFile(path: string, entry: ReadEntry, signal: AbortSignal): Promise<void> {
  const mode = ((entry.mode ?? 0) & 0o111) === 0 ? 0o644 : 0o755;
  const file = await open(path, 'wx', mode).catch(cause => {
    throw isClash(cause) ? refused(entry.path, 'is there twice', cause) : cause;
  });
  try {
    await pipeline(
      entry,
      async pieces => {
        for await (const piece of pieces) await file.writeFile(piece);
      },
      { signal },
    );
    await file.sync();
  } finally {
    await file.close();
  }
}

function isClash(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EEXIST' || error.code === 'ENOTDIR');
}

function refused(path: string, why: string, cause?: unknown): MesoliteError {
  return new MesoliteError('INVALID_INPUT', `${path.slice(0, 200)}: ${why.slice(0, 300)}`, { cause });
}

function ancestorsOf(name: string): string[] {
  const parts = name.split('/');
  return parts.slice(1).map((_, i) => parts.slice(0, i + 1).join('/'));
}

/** Makes the symbolic links that archives had; throws INVALID_INPUT for one that leads out of the directory or to nothing. */
export async function makeLinks({ root, links }: UnpackTarget): Promise<void> {
  for (const [name, to] of links) {
    if (posix.isAbsolute(to)) throw refused(name, `a link to ${to}, out of the directory`);
    // or it would be made wherever that one leads
    if (ancestorsOf(name).some(above => links.has(above))) throw refused(name, 'is below a link');
    const path = join(root, name);
    await makeDirectory(dirname(path), name);
    await symlink(to, path).catch(cause => {
      throw isClash(cause) ? refused(name, 'is there twice', cause) : cause;
    });
  }
  const top = await realpath(root);
  for (const [name, to] of links) {
    const real = await realpath(join(root, name)).catch(() => undefined);
    if (real !== undefined && (real === top || real.startsWith(top + sep))) continue;
    throw refused(name, `a link to ${to}, ${real === undefined ? 'where nothing is' : 'out of the directory'}`);
  }
}

import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, unlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { MesoliteError } from '../base/errors.ts';
import { codeOf, explain } from './file-errors.ts';
import { systemFileOperations } from './file-operations.ts';
import { blockBytes, syncedBytes } from './wear.ts';

/** A file of the store; times in milliseconds since 1970. */
export interface Content {
  readonly sha256: string;
  readonly bytes: number;
  readonly addedAt: number;
  readonly usedAt: number;
}

/**
 * Files by the SHA-256 of what they hold. Each is written beside, synced and renamed, so that it is there whole or not at all; what was
 * not finished is a draft, which may be gone on with. In all they have a bound: who needs room gets that of the files unused for
 * longest which nobody keeps.
 */
export interface ContentStore {
  list(): Promise<Content[]>;
  find(sha256: string): Promise<Content | undefined>;
  pathOf(sha256: string): string;
  /** Marks a file as used now; there may be none. */
  touch(sha256: string): Promise<void>;
  remove(sha256: string): Promise<void>;
  /** Removes what nobody keeps, unused for longest first, until that gives `bytes`; returns how many it gave. */
  giveBack(bytes: number): Promise<number>;
  /** Opens a draft of any name, with what it has already. */
  draft(name: string): Promise<Draft>;
  removeDraft(name: string): Promise<void>;
}

/** Bytes on their way to be a file. */
export interface Draft {
  readonly bytes: number;
  /** Throws TOO_LARGE where there is no room, UNAVAILABLE for a full disk. */
  append(bytes: Uint8Array): Promise<void>;
  clear(): Promise<void>;
  /** Makes it a file and says its hash; where `expected` is another one the draft is removed and INVALID_INPUT thrown. */
  finish(expected?: string): Promise<{ readonly sha256: string; readonly isNew: boolean }>;
  /** It stays, for somebody who goes on with it. */
  close(): Promise<void>;
}

export interface ContentStoreSettings {
  /** Of one file, and of all. */
  readonly maxBytes: number;
  readonly totalBytes: number;
  /** Whether drafts of an earlier start are gone on with. */
  readonly resumes: boolean;
  /** Which files, drafts among them, may not go, asked when room is needed. */
  readonly kept: () => Promise<(sha256: string, usedAt: number) => boolean>;
  readonly now: () => number;
  /** Hears of what is written to the medium. */
  readonly onWritten?: (bytes: number) => void;
}

const namePattern = /^[0-9a-f]{64}$/;
const draftSuffix = '~new';

/** Opens the directory, making it where needed. */
export async function openContentStore(directory: string, settings: ContentStoreSettings): Promise<ContentStore> {
  const { maxBytes, totalBytes, resumes, kept, now, onWritten = () => {} } = settings;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const pathOf = (name: string) => join(directory, name);
  const openDrafts = new Set<string>();
  let used = 0;
  for (const name of await readdir(directory)) {
    if (name.endsWith(draftSuffix) && !resumes) await rm(pathOf(name), { force: true });
    else used += (await stat(pathOf(name))).size;
  }

  async function look(name: string): Promise<Content | undefined> {
    try {
      const { size, mtimeMs, atimeMs } = await stat(pathOf(name));
      return {
        sha256: name.replace(draftSuffix, ''),
        bytes: size,
        addedAt: mtimeMs,
        usedAt: Math.max(mtimeMs, atimeMs),
      };
    } catch {
      return undefined;
    }
  }

  /** Returns how many bytes that gives: none where another has removed it meanwhile. */
  async function removeFile(name: string): Promise<number> {
    const bytes = (await look(name))?.bytes ?? 0;
    try {
      await unlink(pathOf(name));
    } catch (cause) {
      if (codeOf(cause) === 'ENOENT') return 0;
      throw cause;
    }
    used -= bytes;
    return bytes;
  }

  /** What may go, unused for longest first. */
  async function free() {
    const isKept = await kept();
    const names = (await readdir(directory)).filter(name => !openDrafts.has(name));
    const all = await Promise.all(names.map(async name => ({ name, content: await look(name) })));
    return all
      .flatMap(({ name, content }) => (content === undefined ? [] : [{ name, content }]))
      .filter(({ content }) => !isKept(content.sha256, content.usedAt))
      .sort((a, b) => a.content.usedAt - b.content.usedAt);
  }

  /** Room for so many bytes more. */
  async function makeRoom(bytes: number): Promise<void> {
    if (used + bytes <= totalBytes) return;
    for (const { name } of await free()) {
      if (used + bytes <= totalBytes) return;
      await removeFile(name);
    }
    if (used + bytes > totalBytes) {
      throw new MesoliteError('TOO_LARGE', `no room: artifacts that are needed take ${used} of ${totalBytes} bytes`);
    }
  }

  async function openDraft(name: string): Promise<Draft> {
    const file = name + draftSuffix;
    const path = pathOf(file);
    const handle = await open(path, 'a', 0o600);
    let bytes = (await handle.stat()).size;
    // of what an earlier start has written nothing was seen
    let hash: Hash | undefined = bytes === 0 ? createHash('sha256') : undefined;
    openDrafts.add(file);
    const close = async () => {
      openDrafts.delete(file);
      await handle.close().catch(() => undefined);
    };
    return {
      get bytes() {
        return bytes;
      },
      async append(piece) {
        if (bytes + piece.length > maxBytes) {
          throw new MesoliteError('TOO_LARGE', `an artifact has at most ${maxBytes} bytes, and this one has more`);
        }
        await makeRoom(piece.length);
        await writeAll(handle, piece);
        onWritten(piece.length);
        hash?.update(piece);
        bytes += piece.length;
        used += piece.length;
      },
      async clear() {
        await handle.truncate(0);
        used -= bytes;
        bytes = 0;
        hash = createHash('sha256');
      },
      async finish(expected) {
        await handle.sync();
        await close();
        const sha256 = hash?.digest('hex') ?? (await hashFile(path));
        if (expected !== undefined && sha256 !== expected) {
          await removeFile(file);
          throw new MesoliteError('INVALID_INPUT', `its sha256 is ${sha256}, expected ${expected}`);
        }
        const isNew = (await look(sha256)) === undefined;
        if (!isNew) await removeFile(sha256);
        await rename(path, pathOf(sha256));
        await systemFileOperations.syncDirectory(directory);
        onWritten(syncedBytes(0) + blockBytes);
        return { sha256, isNew };
      },
      close,
    };
  }

  return {
    pathOf,
    async list() {
      const names = (await readdir(directory)).filter(name => namePattern.test(name));
      return (await Promise.all(names.map(look))).flatMap(content => content ?? []);
    },
    find: async sha256 => (namePattern.test(sha256) ? look(sha256) : undefined),
    async touch(sha256) {
      const content = await look(sha256);
      if (content === undefined) return;
      await utimes(pathOf(sha256), now() / 1000, content.addedAt / 1000);
      onWritten(syncedBytes(0));
    },
    remove: async sha256 => void (await removeFile(sha256)),
    async giveBack(bytes) {
      let given = 0;
      for (const { name } of await free()) {
        if (given >= bytes) break;
        given += await removeFile(name);
      }
      return given;
    },
    draft: openDraft,
    removeDraft: async name => void (await removeFile(name + draftSuffix)),
  };
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  try {
    await file.writeFile(bytes);
  } catch (cause) {
    throw new MesoliteError('UNAVAILABLE', `an artifact cannot be written: ${explain(cause)}`, { cause });
  }
}

/** Reads it whole; hexadecimal. */
export async function hashFile(path: string, algorithm: 'sha256' | 'blake2b512' = 'sha256'): Promise<string> {
  const hash = createHash(algorithm);
  for await (const piece of createReadStream(path, { highWaterMark: 256 * 1024 })) hash.update(piece);
  return hash.digest('hex');
}

import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MesoliteError } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import { cannotWriteIn, codeOf, explain, isFull } from './file-errors.ts';
import { type FileOperations, systemFileOperations } from './file-operations.ts';

/**
 * Small files that survive a power cut whole or not at all: written beside, synced, renamed, with a checksum, the one
 * before kept. Names are `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 200 long.
 */
export interface Files {
  /** The newest good copy, undefined when there is none; `recovered` says that a newer one was lost. Throws UNTRUSTED when every copy is damaged. */
  read(name: string): Promise<{ readonly value: Buffer; readonly recovered: boolean } | undefined>;
  /** Returns when `bytes` are durable; writes nothing when they are there already. Throws TOO_LARGE, or UNAVAILABLE (a full disk: the old content stays). */
  write(name: string, bytes: Uint8Array): Promise<void>;
  /** Removes every copy; there may be none. Throws UNAVAILABLE. */
  remove(name: string): Promise<void>;
  /** The names of all files, sorted. */
  list(): Promise<string[]>;
  /** Takes the reserve again that a full disk was given; false while there is no room for it. */
  keepReserve(): Promise<boolean>;
}

export interface FilesSettings {
  readonly operations?: FileOperations;
  /** The largest content of one file. */
  readonly maxBytes?: number;
  /** Kept on the disk, and given up when it is full, so that what is small can still be written; 0 when left out. */
  readonly reserveBytes?: number;
}

const magic = 'mesolite-file';
/** `mesolite-file <sha256> <length>\n`, the length of at most 10 digits */
const maxHeadBytes = magic.length + 1 + 64 + 1 + 10 + 1;
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/;
// a name has no tilde, so these never meet another file's
const newSuffix = '~new';
const previousSuffix = '~previous';
const reserveName = '~reserve';

type Copy = { readonly state: 'good'; readonly value: Buffer } | { readonly state: 'missing' | 'damaged' };

const defaultMaxBytes = 8 * 1024 * 1024;

/** Opens a directory of durable files, making it where needed; throws START_FAILED when it cannot be written. */
export async function openFiles(directory: string, settings: FilesSettings = {}): Promise<Files> {
  const { operations = systemFileOperations, maxBytes = defaultMaxBytes, reserveBytes = 0 } = settings;
  const files = new DurableFiles(directory, operations, maxBytes, reserveBytes);
  await files.open();
  return files;
}

/** Gives up what was set aside in a directory of durable files, for who has to write there before he opens it. */
export async function giveUpReserve(directory: string): Promise<void> {
  await rm(join(directory, reserveName), { force: true });
}

/** What another process writes there, to be read only: nothing is made or cleared away. */
export function viewFiles(directory: string): Pick<Files, 'read' | 'list'> {
  return new DurableFiles(directory, systemFileOperations, defaultMaxBytes, 0);
}

class DurableFiles implements Files {
  readonly #directory: string;
  readonly #disk: FileOperations;
  readonly #maxBytes: number;
  // one at a time: a reader must not look between the two renames of a writer
  readonly #gate = new Gate();

  readonly #reserveBytes: number;
  #hasReserve = false;

  constructor(directory: string, disk: FileOperations, maxBytes: number, reserveBytes: number) {
    this.#reserveBytes = reserveBytes;
    this.#directory = directory;
    this.#disk = disk;
    this.#maxBytes = maxBytes;
  }

  async open(): Promise<void> {
    try {
      await this.#disk.makeDirectory(this.#directory);
      await this.#probe();
      for (const entry of await this.#disk.list(this.#directory)) {
        if (entry.endsWith(newSuffix)) await this.#disk.remove(join(this.#directory, entry));
        if (entry === reserveName) this.#hasReserve = true;
      }
      await this.#takeReserve();
    } catch (cause) {
      throw cannotWriteIn(this.#directory, cause);
    }
  }

  /** A disk that is full is no reason not to begin: what is there already can be read. */
  async #probe(): Promise<void> {
    try {
      await (await this.#disk.create(join(this.#directory, `probe${newSuffix}`))).close();
    } catch (cause) {
      if (!isFull(cause)) throw cause;
    }
  }

  read(name: string): Promise<{ value: Buffer; recovered: boolean } | undefined> {
    const path = this.#path(name);
    return this.#gate.run(async () => {
      const current = await this.#load(path);
      if (current.state === 'good') return { value: current.value, recovered: false };
      const previous = await this.#load(path + previousSuffix);
      if (previous.state === 'good') return { value: previous.value, recovered: true };
      if (current.state === 'missing' && previous.state === 'missing') return undefined;
      throw new MesoliteError('UNTRUSTED', `${path}: damaged, and there is no good copy of it`);
    });
  }

  write(name: string, bytes: Uint8Array): Promise<void> {
    const path = this.#path(name);
    if (bytes.length > this.#maxBytes) {
      throw new MesoliteError('TOO_LARGE', `${path}: ${bytes.length} bytes, at most ${this.#maxBytes} are written`);
    }
    return this.#gate.run(async () => {
      const current = await this.#load(path);
      if (current.state === 'good' && current.value.equals(bytes)) return;
      try {
        await this.#writeWithRoom(path, bytes, current);
        // a damaged file must not push out the good one before it
        if (current.state === 'good') await this.#disk.rename(path, path + previousSuffix);
        await this.#disk.rename(path + newSuffix, path);
        await this.#disk.syncDirectory(this.#directory);
      } catch (cause) {
        throw new MesoliteError('UNAVAILABLE', `cannot write ${path}: ${explain(cause)}`, { cause });
      }
    });
  }

  remove(name: string): Promise<void> {
    const path = this.#path(name);
    return this.#gate.run(async () => {
      try {
        // the older copy first and for good, so that it cannot come back in place of the newer one
        if (await this.#removeCopy(path + previousSuffix)) await this.#disk.syncDirectory(this.#directory);
        if (await this.#removeCopy(path)) await this.#disk.syncDirectory(this.#directory);
      } catch (cause) {
        throw new MesoliteError('UNAVAILABLE', `cannot remove ${path}: ${explain(cause)}`, { cause });
      }
    });
  }

  list(): Promise<string[]> {
    return this.#gate.run(async () => {
      const entries = await this.#disk.list(this.#directory);
      const names = entries
        .filter(entry => !entry.endsWith(newSuffix))
        .map(entry => (entry.endsWith(previousSuffix) ? entry.slice(0, -previousSuffix.length) : entry))
        .filter(entry => namePattern.test(entry));
      return [...new Set(names)].sort();
    });
  }

  keepReserve(): Promise<boolean> {
    return this.#gate.run(() => this.#takeReserve());
  }

  /** What is half written is none: it is made under another name. */
  async #takeReserve(): Promise<boolean> {
    if (this.#hasReserve || this.#reserveBytes === 0) return true;
    const path = join(this.#directory, reserveName);
    try {
      await this.#writeBeside(path, Buffer.alloc(this.#reserveBytes));
      await this.#disk.rename(path + newSuffix, path);
      this.#hasReserve = true;
    } catch {
      // no room: that is what it is for
    }
    return this.#hasReserve;
  }

  /** On a full disk what was set aside makes room, and then the copy before: a good one is there at every moment. */
  async #writeWithRoom(path: string, bytes: Uint8Array, current: Copy): Promise<void> {
    const rooms = [join(this.#directory, reserveName), ...(current.state === 'good' ? [path + previousSuffix] : [])];
    for (;;) {
      try {
        return await this.#writeBeside(path, bytes);
      } catch (cause) {
        const room = isFull(cause) ? rooms.shift() : undefined;
        if (room === undefined) throw cause;
        await this.#removeCopy(room);
        this.#hasReserve = false;
      }
    }
  }

  #path(name: string): string {
    if (!namePattern.test(name)) throw new MesoliteError('INVALID_INPUT', `not a file name: ${JSON.stringify(name)}`);
    return join(this.#directory, name);
  }

  async #load(path: string): Promise<Copy> {
    try {
      return parse(await this.#disk.read(path, this.#maxBytes + maxHeadBytes + 1));
    } catch (cause) {
      if (codeOf(cause) === 'ENOENT') return { state: 'missing' };
      // a medium that cannot read a block gives EIO: the copy is as good as damaged
      if (codeOf(cause) === 'EIO') return { state: 'damaged' };
      throw new MesoliteError('UNAVAILABLE', `cannot read ${path}: ${explain(cause)}`, { cause });
    }
  }

  async #writeBeside(path: string, bytes: Uint8Array): Promise<void> {
    const file = await this.#disk.create(path + newSuffix);
    try {
      await file.write(Buffer.concat([head(bytes), bytes]));
      await file.sync();
    } catch (cause) {
      await this.#removeCopy(path + newSuffix).catch(() => undefined);
      throw cause;
    } finally {
      await file.close();
    }
  }

  async #removeCopy(path: string): Promise<boolean> {
    try {
      await this.#disk.remove(path);
      return true;
    } catch (cause) {
      if (codeOf(cause) === 'ENOENT') return false;
      throw cause;
    }
  }
}

function head(bytes: Uint8Array): Buffer {
  return Buffer.from(`${magic} ${createHash('sha256').update(bytes).digest('hex')} ${bytes.length}\n`);
}

function parse(bytes: Buffer): Copy {
  const end = bytes.subarray(0, maxHeadBytes).indexOf(0x0a);
  const value = bytes.subarray(end + 1);
  const good = end > 0 && head(value).equals(bytes.subarray(0, end + 1));
  return good ? { state: 'good', value } : { state: 'damaged' };
}

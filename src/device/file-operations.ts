import { constants } from 'node:fs';
import { mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises';

/** A file that is being written. */
export interface OpenFile {
  write(bytes: Uint8Array): Promise<void>;
  /** Returns when all that was written is on the medium. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** The few things that durable files ask of a file system; a test's one can lose what was not synced, as a power cut does. */
export interface FileOperations {
  /** Makes the directory and its parents, mode 0700; it may exist. */
  makeDirectory(path: string): Promise<void>;
  /** The first `limitBytes` of a file; rejects with ENOENT when there is none. */
  read(path: string, limitBytes: number): Promise<Buffer>;
  /** In bytes; rejects with ENOENT when there is none. */
  size(path: string): Promise<number>;
  /** Creates a file or empties it, mode 0600. */
  create(path: string): Promise<OpenFile>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  list(directory: string): Promise<string[]>;
  /** Returns when the names in a directory are on the medium. */
  syncDirectory(path: string): Promise<void>;
}

/**
 * How to read where tasks may write, whose user the agent's may be: root, who looks after a node, is led nowhere by a link, and waits for nobody
 * who would write into a pipe.
 */
export const readPlainly = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

export const systemFileOperations: FileOperations = {
  async makeDirectory(path) {
    await mkdir(path, { recursive: true, mode: 0o700 });
  },
  async read(path, limitBytes) {
    const file = await open(path, readPlainly);
    try {
      const size = Math.min((await file.stat()).size, limitBytes);
      const bytes = Buffer.alloc(size);
      let filled = 0;
      while (filled < size) {
        const { bytesRead } = await file.read(bytes, filled, size - filled, filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return bytes.subarray(0, filled);
    } finally {
      await file.close();
    }
  },
  size: async path => (await stat(path)).size,
  async create(path) {
    const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600);
    return {
      write: bytes => file.writeFile(bytes),
      sync: () => file.sync(),
      close: () => file.close(),
    };
  },
  rename,
  remove: unlink,
  list: directory => readdir(directory),
  async syncDirectory(path) {
    const directory = await open(path, constants.O_RDONLY);
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  },
};

/** Is anything there? */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

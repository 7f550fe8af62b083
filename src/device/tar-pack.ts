import { createReadStream, type Stats } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { basename, join, posix } from 'node:path';
import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { MesoliteError } from '../base/errors.ts';
import { artifactBounds } from '../model/artifact.ts';
import { isTarGz } from './tar-unpack.ts';

const blockBytes = 512;

/** Something that goes into the archive. */
interface Entry {
  readonly name: string;
  readonly path: string;
  readonly type: 'File' | 'Directory' | 'SymbolicLink';
  readonly mode: number;
  readonly size: number;
  readonly linkpath?: string;
}

/**
 * A file or a directory as tar.gz: the same content gives the same bytes, for names are in order, and neither times nor owners, nor
 * more of the mode than whether a file is run, go in. What is a tar.gz already goes as it is. Of a directory only `parts` go in, if they are
 * given. Throws INVALID_INPUT.
 */
export async function packTarGz(path: string, parts?: readonly string[]): Promise<Readable> {
  const stats = await lstat(path);
  if (stats.isFile() && (await isTarGz(path))) return createReadStream(path);
  const tar = Readable.from(tarOf(path, parts), { objectMode: false });
  const gzip = createGzip({ level: 9 });
  tar.once('error', error => gzip.destroy(error));
  return tar.pipe(gzip);
}

async function* tarOf(path: string, parts?: readonly string[]): AsyncGenerator<Uint8Array> {
  const [{ Header }, { Pax }] = await Promise.all([import('tar/header'), import('tar/pax')]);
  const stats = await lstat(path);
  const entries = stats.isDirectory() ? partsOf(path, parts) : [await entryOf(path, basename(path), stats)];
  let count = 0;
  for await (const entry of entries) {
    if (++count > artifactBounds.unpackedEntries) {
      throw new MesoliteError('TOO_LARGE', `${path}: more than ${artifactBounds.unpackedEntries} files`);
    }
    const { name, path: from, ...more } = entry;
    const header = { path: name, ...more, uid: 0, gid: 0, mtime: new Date(0) };
    const block = Buffer.alloc(blockBytes);
    // what does not fit into a plain header is told in one before it
    if (new Header(header).encode(block)) {
      const { size, linkpath } = more;
      yield new Pax({ path: name, size, ...(linkpath !== undefined && { linkpath }) }).encode();
    }
    yield block;
    if (entry.size > 0) yield* contentOf(from, entry.size);
  }
  yield Buffer.alloc(2 * blockBytes);
}

async function* partsOf(root: string, parts: readonly string[] | undefined): AsyncGenerator<Entry> {
  if (parts === undefined) return yield* below(root, '');
  for (const name of parts) {
    const path = join(root, name);
    const entry = await entryOf(path, name, await lstat(path));
    yield entry;
    if (entry.type === 'Directory') yield* below(root, name);
  }
}

/** The content of a directory in the order of names, each directory before what is in it. */
async function* below(root: string, folder: string): AsyncGenerator<Entry> {
  for (const file of (await readdir(join(root, folder))).sort()) {
    const name = posix.join(folder, file);
    const path = join(root, name);
    const entry = await entryOf(path, name, await lstat(path));
    yield entry;
    if (entry.type === 'Directory') yield* below(root, name);
  }
}

async function entryOf(path: string, name: string, stats: Stats): Promise<Entry> {
  if (stats.isDirectory()) return { name: `${name}/`, path, type: 'Directory', mode: 0o755, size: 0 };
  if (stats.isFile()) {
    return { name, path, type: 'File', mode: (stats.mode & 0o100) === 0 ? 0o644 : 0o755, size: stats.size };
  }
  if (!stats.isSymbolicLink()) {
    throw new MesoliteError('INVALID_INPUT', `${path}: expected files, directories and links alone`);
  }
  const linkpath = await readlink(path);
  // the node refuses it too, when the work is done
  if (posix.isAbsolute(linkpath) || posix.join(posix.dirname(name), linkpath).startsWith('..')) {
    throw new MesoliteError('INVALID_INPUT', `${path}: the link leads out of what is pushed, to ${linkpath}`);
  }
  return { name, path, type: 'SymbolicLink', mode: 0o755, size: 0, linkpath };
}

async function* contentOf(path: string, size: number): AsyncGenerator<Uint8Array> {
  let read = 0;
  for await (const piece of createReadStream(path, { end: size - 1 })) {
    read += piece.length;
    yield piece;
  }
  if (read !== size) throw new MesoliteError('CONFLICT', `${path} became shorter while it was read`);
  yield Buffer.alloc((blockBytes - (size % blockBytes)) % blockBytes);
}

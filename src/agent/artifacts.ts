import { constants } from 'node:fs';
import { chmod, copyFile, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MesoliteError } from '../base/errors.ts';
import { type ContentStore, openContentStore } from '../device/content-store.ts';
import { explain } from '../device/file-errors.ts';
import { exists, systemFileOperations } from '../device/file-operations.ts';
import { giveTree } from '../device/give-tree.ts';
import type { Lowered } from '../device/privileges.ts';
import { sandboxName } from '../device/process.ts';
import { isTarGz, makeLinks, type UnpackBounds, type UnpackTarget, unpackTarGz } from '../device/tar-unpack.ts';
import { syncedBytes } from '../device/wear.ts';
import { artifactBounds, fileOf, nameOfSource, type TaskArtifact } from '../model/artifact.ts';
import type { TaskSpec } from '../model/task.ts';
import { type ArtifactCache, makeArtifactCache, type SayProgress } from './artifact-cache.ts';
import { makeSignatureCheck, type SignatureCheck } from './artifact-signatures.ts';
import { makeNodeStock, type NodeStock } from './node-stock.ts';

/** Puts into a task's directory what its job names. */
export interface Artifacts {
  /**
   * All of it or nothing, and once for a task: what is there stays as the task left it. It is `owner`'s, or this process' own. Throws as
   * `ArtifactCache.get`, UNTRUSTED for what is not signed, or UNAVAILABLE for the disk.
   */
  place(
    artifacts: readonly TaskArtifact[],
    directory: string,
    say: SayProgress,
    signal: AbortSignal,
    owner?: Lowered['owner'],
  ): Promise<void>;
  /** Where one is that no task needs; it stays as others do that nothing needs any more. Throws as `ArtifactCache.get`, and UNTRUSTED for what is not signed. */
  readonly fetch: ArtifactCache['get'];
}

/** The sandbox while it is being filled. */
export const unfinishedSandbox = `${sandboxName}~new`;

/** Opens the node's cache of artifacts; what a wanted task needs is never removed from it. */
export async function openArtifacts(
  {
    desired,
    onStock,
    onWritten = () => {},
    ...parts
  }: Omit<Parameters<typeof makeArtifactCache>[0], 'store' | 'stock'> & {
    readonly desired: () => Iterable<TaskSpec>;
    /** The stock has news. */
    readonly onStock: () => void;
    readonly onWritten?: (bytes: number) => void;
  },
  settings: { readonly directory: string; readonly totalBytes: number; readonly keys?: readonly string[] },
): Promise<Artifacts & Pick<ContentStore, 'giveBack'> & { readonly stock: NodeStock }> {
  const signed = makeSignatureCheck(settings.keys ?? []);
  const store = await openContentStore(settings.directory, {
    maxBytes: artifactBounds.bytes,
    totalBytes: settings.totalBytes,
    resumes: true,
    kept: async () => {
      const needed = new Set([...desired()].flatMap(({ artifacts = [] }) => artifacts.map(({ sha256 }) => sha256)));
      return sha256 => needed.has(sha256);
    },
    now: () => parts.clock.now(),
    onWritten,
  });
  const stock = makeNodeStock(store, onStock);
  const artifacts = makeArtifacts({ cache: makeArtifactCache({ ...parts, store, stock }), signed, onWritten });
  async function giveBack(bytes: number): Promise<number> {
    const given = await store.giveBack(bytes);
    if (given > 0) stock.onChanged();
    return given;
  }
  return { ...artifacts, stock, giveBack };
}

export function makeArtifacts(
  {
    cache,
    signed,
    onWritten = () => {},
  }: { readonly cache: ArtifactCache; readonly signed: SignatureCheck; readonly onWritten?: (bytes: number) => void },
  bounds: UnpackBounds = artifactBounds,
): Artifacts {
  async function put(
    artifact: TaskArtifact,
    target: UnpackTarget,
    say: SayProgress,
    signal: AbortSignal,
  ): Promise<void> {
    const { source, unpack, destination = '.', executable } = artifact;
    try {
      const path = await signed(artifact, () => cache.get(artifact, say, signal));
      if (unpack === 'tar.gz' || (unpack === 'auto' && (await isTarGz(path)))) {
        const folder = destination.replace(/\/$/, '');
        await mkdir(join(target.root, folder), { recursive: true });
        return onWritten(await unpackTarGz(path, target, folder, bounds, signal));
      }
      const name = fileOf(source, destination);
      if (name === '')
        throw new MesoliteError('INVALID_INPUT', 'it is no tar.gz, and its job has no destination for a file');
      onWritten(await copyInto(path, join(target.root, name), executable === true));
    } catch (error) {
      throw naming(artifact, error);
    }
  }

  return {
    fetch: (artifact, ...how) => signed(artifact, () => cache.get(artifact, ...how)),
    async place(artifacts, directory, say, signal, owner) {
      const sandbox = join(directory, sandboxName);
      if (artifacts.length === 0 || (await exists(sandbox))) return;
      const root = join(directory, unfinishedSandbox);
      const target: UnpackTarget = { root, links: new Map() };
      try {
        await rm(root, { recursive: true, force: true });
        await mkdir(root, { recursive: true, mode: 0o700 });
        for (const artifact of artifacts) await put(artifact, target, say, signal);
        await makeLinks(target);
        if (owner !== undefined) await giveTree(root, owner);
        signal.throwIfAborted();
        await rename(root, sandbox);
        await systemFileOperations.syncDirectory(directory);
      } finally {
        await rm(root, { recursive: true, force: true });
      }
    },
  };
}

function naming({ source }: TaskArtifact, error: unknown): unknown {
  if (!(error instanceof MesoliteError)) {
    return new MesoliteError('UNAVAILABLE', `${nameOfSource(source)}: ${explain(error)}`, { cause: error });
  }
  return new MesoliteError(error.code, `${nameOfSource(source)}: ${error.message}`, { cause: error });
}

/** A copy, since a task may write to what it gets; returns its size. */
async function copyInto(from: string, to: string, isExecutable: boolean): Promise<number> {
  await mkdir(dirname(to), { recursive: true });
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE).catch(cause => {
    const isThere = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    throw isThere ? new MesoliteError('INVALID_INPUT', 'another artifact is at its destination') : cause;
  });
  await chmod(to, isExecutable ? 0o755 : 0o644);
  const file = await open(to, 'r');
  try {
    await file.sync();
    return syncedBytes((await file.stat()).size);
  } finally {
    await file.close();
  }
}

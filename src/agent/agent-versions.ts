import { existsSync } from 'node:fs';
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { Cell } from '../base/cell.ts';
import { MesoliteError } from '../base/errors.ts';
import { decodeJson } from '../base/shape.ts';
import { systemFileOperations } from '../device/file-operations.ts';
import { type Files, openFiles } from '../device/files.ts';
import { makeLinks, type UnpackBounds, unpackTarGz } from '../device/tar-unpack.ts';
import { type AgentVersions, firstVersions, installedVersion } from '../lifecycle/agent-version.ts';

/** The versions of the agent on this node, beside the installed one. */
export interface VersionStore {
  readonly state: Cell<AgentVersions>;
  /** On the disk, then in `state`. */
  change(next: (versions: AgentVersions) => AgentVersions): Promise<void>;
  /** The program of a version; undefined where it is not here, and for the installed one. */
  programOf(id: string): string | undefined;
  /** Unpacks a bundle; returns how many bytes that are. Throws INVALID_INPUT or TOO_LARGE for what is none, UNAVAILABLE for the disk. */
  put(id: string, bundle: string, signal: AbortSignal): Promise<number>;
  /** Removes what is neither current nor the one before. */
  tidy(): Promise<void>;
}

export const versionBounds: UnpackBounds = { unpackedBytes: 256 * 1024 * 1024, unpackedEntries: 10_000 };

const file = 'state';
const bounds = { maxBytes: 8 * 1024, maxDepth: 4 };
/** An agent that is years older reads it, too. */
const stateSchema = v.object({
  current: v.string(),
  previous: v.string(),
  starts: v.number(),
  tried: v.nullable(v.object({ id: v.string(), times: v.number(), withinMs: v.number() })),
  refused: v.nullable(v.object({ id: v.string(), why: v.string() })),
});

/** As `npm pack` makes it, and as the directory that it is made of is packed. */
const programs = ['package/build/dist/main.js', 'build/dist/main.js'];
const unfinished = '~unpacking';

/** Makes nothing on the disk before there is something to keep. */
export async function openVersions(dataDir: string): Promise<VersionStore> {
  const directory = versionsDirectory(dataDir);
  let files: Files | undefined = existsSync(directory) ? await openFiles(directory) : undefined;
  const state = new Cell((files && (await readState(files))) ?? firstVersions);

  return {
    state,
    async change(next) {
      const changed = next(state.value);
      if (changed === state.value) return;
      files ??= await openFiles(directory);
      await files.write(file, Buffer.from(JSON.stringify(changed)));
      state.set(changed);
    },
    programOf: id => programOf(dataDir, id),
    async put(id, bundle, signal) {
      files ??= await openFiles(directory);
      const root = join(directory, `${id}${unfinished}`);
      const target = { root, links: new Map<string, string>() };
      await rm(root, { recursive: true, force: true });
      await systemFileOperations.makeDirectory(root);
      const bytes = await unpackTarGz(bundle, target, '.', versionBounds, signal);
      await makeLinks(target);
      if (programs.every(program => !existsSync(join(root, program)))) {
        throw new MesoliteError('INVALID_INPUT', `it is no bundle of an agent: there is no ${programs[0]} in it`);
      }
      await syncDirectories(root);
      await rename(root, join(directory, id));
      await systemFileOperations.syncDirectory(directory);
      return bytes;
    },
    async tidy() {
      if (files === undefined) return;
      const { current, previous, tried } = state.value;
      const kept = [current, previous, tried?.id];
      for (const entry of await readdir(directory, { withFileTypes: true }))
        if (entry.isDirectory() && !kept.includes(entry.name))
          await rm(join(directory, entry.name), { recursive: true, force: true });
    },
  };
}

/** What cannot be read says nothing: an agent of any version is better than none. */
async function readState(files: Files): Promise<AgentVersions | undefined> {
  try {
    const stored = await files.read(file);
    return stored && decodeJson(stateSchema, stored.value, file, bounds);
  } catch {
    return undefined;
  }
}

export function programOf(dataDir: string, id: string): string | undefined {
  if (id === installedVersion) return undefined;
  return programs.map(program => join(versionsDirectory(dataDir), id, program)).find(existsSync);
}

/** Has this node ever been given another version than the installed one? */
export function hasVersions(dataDir: string): boolean {
  return existsSync(versionsDirectory(dataDir));
}

function versionsDirectory(dataDir: string): string {
  return join(dataDir, 'versions');
}

/** Files are synced as they are written; so are their names now. */
async function syncDirectories(root: string): Promise<void> {
  for (const entry of await readdir(root, { withFileTypes: true, recursive: true }))
    if (entry.isDirectory()) await systemFileOperations.syncDirectory(join(entry.parentPath ?? entry.path, entry.name));
  await systemFileOperations.syncDirectory(root);
}

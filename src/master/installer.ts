import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { MesoliteError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { packTarGz } from '../device/tar-pack.ts';
import { sha256Hex } from '../identity/keys.ts';

/** Something that the script fetches: in memory, or a file on the disk. */
export interface InstallFile {
  readonly bytes: number;
  readonly sha256: string;
  readonly from: Buffer | string;
}

/** What makes other machines nodes: a script, the agent of the master's own version, and Node for those that have none. No secrets. */
export interface Installer {
  /** For those who call the master by this host and port. Throws INVALID_INPUT for what is none. */
  script(host: string): Promise<string>;
  /** Throws NOT_FOUND. */
  open(name: string): Promise<InstallFile>;
}

export const installerBounds = { runtimes: 16, runtimeBytes: 128 * 1024 * 1024 } as const;

/** The operator's folder for archives of Node in the data of a master. */
export const runtimesFolder = 'runtimes';

const bundleName = 'mesolite.tar.gz';
/** What an agent needs of the installed program. */
const bundleParts = ['build/dist', 'firmware-profiles', 'package.json'];
const runtimeName = /^node-v[\d.]{1,12}-linux-([a-z0-9]{1,8})\.tar\.(gz|xz)$/;
const hostName = /^([A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:.]{2,45}\])(:\d{1,5})?$/;

export function makeInstaller(parts: {
  readonly log: Log;
  readonly version: string;
  /** Of the installed program. */
  readonly programDir: string;
  readonly dataDir: string;
  /** The root certificates that the master is trusted by, as PEM. */
  readonly roots: () => string;
}): Installer {
  const { log, version, programDir, dataDir, roots } = parts;
  const runtimes = join(dataDir, runtimesFolder);
  const sums = new Map<string, Promise<string>>();
  const unreadable = new Set<string>();
  let packed: Promise<InstallFile> | undefined;

  async function pack(): Promise<InstallFile> {
    const from = await buffer(await packTarGz(programDir, bundleParts));
    return { bytes: from.length, sha256: sha256Hex(from), from };
  }

  /** Packed once, when it is first asked for. */
  function bundle(): Promise<InstallFile> {
    packed ??= pack().catch(error => {
      packed = undefined;
      throw error;
    });
    return packed;
  }

  async function runtimeNames(): Promise<string[]> {
    const names = await readdir(runtimes).catch(() => []);
    return names
      .filter(name => runtimeName.test(name))
      .sort((one, other) => one.localeCompare(other, 'en', { numeric: true }))
      .slice(-installerBounds.runtimes);
  }

  async function openRuntime(name: string): Promise<InstallFile | undefined> {
    try {
      return await readRuntime(name);
    } catch (error) {
      // once: anybody may ask again
      if (unreadable.has(name)) return undefined;
      if (unreadable.size >= installerBounds.runtimes) unreadable.clear();
      unreadable.add(name);
      log.warn('an archive of Node cannot be read, and is left out', { name, error });
      return undefined;
    }
  }

  async function readRuntime(name: string): Promise<InstallFile | undefined> {
    const from = join(runtimes, name);
    const stats = await stat(from);
    const { size, mtimeMs } = stats;
    if (!stats.isFile() || size > installerBounds.runtimeBytes) return undefined;
    const key = `${name} ${size} ${mtimeMs}`;
    let sum = sums.get(key);
    if (sum === undefined) {
      if (sums.size >= installerBounds.runtimes) sums.clear();
      sum = sumOf(from);
      sums.set(key, sum);
      sum.catch(() => sums.delete(key));
    }
    return { bytes: size, sha256: await sum, from };
  }

  return {
    async script(host) {
      if (!hostName.test(host)) throw new MesoliteError('INVALID_INPUT', 'host: expected the name of this master');
      const lines: string[] = [];
      for (const name of await runtimeNames()) {
        const runtime = await openRuntime(name);
        if (runtime !== undefined) lines.push(`${runtimeName.exec(name)?.[1]} ${name} ${runtime.sha256}`);
      }
      const words: Readonly<Record<string, string>> = {
        URL: `https://${host}`,
        VERSION: version,
        BUNDLE: (await bundle()).sha256,
        // the newest first
        RUNTIMES: lines.reverse().join('\n'),
        CA: roots().trim(),
      };
      const text = await readFile(join(programDir, 'build/dist/install/install.sh'), 'utf8');
      return text.replace(/'@([A-Z]+)@'/g, (all, word: string) =>
        words[word] === undefined ? all : `'${words[word]}'`,
      );
    },
    async open(name) {
      if (name === bundleName) return bundle();
      const isThere = (await runtimeNames()).includes(name);
      const runtime = isThere ? await openRuntime(name) : undefined;
      if (runtime === undefined) throw new MesoliteError('NOT_FOUND', 'there is no such file to install');
      return runtime;
    },
  };
}

async function sumOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece);
  return hash.digest('hex');
}

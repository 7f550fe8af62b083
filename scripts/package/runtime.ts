import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** A `node` that goes into a package. */
export interface Runtime {
  readonly bytes: Buffer;
  readonly version: string;
  /** Debian's name of it. */
  readonly architecture: string;
  /** Debian's packages with the libraries that it wants. */
  readonly depends: string;
}

const archives = /\.(tar\.(gz|xz)|tgz)$/;
const oldest = [20, 11] as const;

/**
 * Reads one: `self` is what runs this; a file is the program or an archive with `bin/node` in it, as nodejs.org has it; a directory holds such
 * archives. All but `self` must be what a SHASUMS256.txt beside it, or `sha256`, says.
 */
export function readRuntimes(from: string, sha256: string | undefined): Runtime[] {
  if (from === 'self') return [runtimeOf(readFileSync(process.execPath), process.execPath)];
  if (!statSync(from).isDirectory()) return [readFile(from, sha256)];
  const files = readdirSync(from).filter(name => archives.test(name));
  if (files.length === 0) throw new Error(`${from}: there is no archive of Node in it (node-v….tar.gz)`);
  return files.sort().map(name => readFile(join(from, name), undefined));
}

function readFile(path: string, given: string | undefined): Runtime {
  const bytes = readFileSync(path);
  const expected = given ?? listedSum(path);
  if (expected === undefined)
    throw new Error(`${path}: expected its sha256 in SHASUMS256.txt beside it, or by --sha256`);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== expected) throw new Error(`${path}: expected sha256 ${expected}, not ${sha256}`);
  return runtimeOf(archives.test(path) ? unpack(path) : bytes, path);
}

/** By the list that nodejs.org signs for each version. */
function listedSum(path: string): string | undefined {
  const list = join(dirname(path), 'SHASUMS256.txt');
  if (!existsSync(list)) return undefined;
  const lines = readFileSync(list, 'utf8')
    .split('\n')
    .map(line => line.split(/\s+/));
  return lines.find(([, name]) => name === basename(path))?.[0];
}

function unpack(path: string): Buffer {
  return execFileSync('tar', ['-xOf', path, '--wildcards', '*/bin/node'], { maxBuffer: 512 * 1024 * 1024 });
}

function runtimeOf(bytes: Buffer, path: string): Runtime {
  const architecture = architectureOf(bytes);
  if (architecture === undefined) throw new Error(`${path}: expected a program for Linux on amd64, arm64 or armhf`);
  const wants = (library: string) => bytes.includes(`\0${library}\0`);
  const version = /\/release\/v(\d+\.\d+\.\d+)\//.exec(textAround(bytes, '/release/v'))?.[1];
  if (version === undefined || wants('libnode.so')) {
    throw new Error(`${path}: expected a Node that is one file, as nodejs.org builds it`);
  }
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < oldest[0] || (major === oldest[0] && minor < oldest[1])) {
    throw new Error(`${path}: expected Node ${oldest.join('.')} or newer, not ${version}`);
  }
  const depends = [
    `libc6 (>= ${glibcOf(bytes)})`,
    'libgcc-s1',
    'libstdc++6',
    ...(wants('libatomic.so.1') ? ['libatomic1'] : []),
  ];
  return { bytes, version, architecture, depends: depends.join(', ') };
}

/** elf(5): the machine that a program or library is for. */
function architectureOf(bytes: Buffer): string | undefined {
  if (bytes.length < 20 || bytes.readUInt32BE(0) !== 0x7f454c46) return undefined;
  return { 40: 'armhf', 62: 'amd64', 183: 'arm64' }[bytes.readUInt16LE(18)];
}

function textAround(bytes: Buffer, word: string): string {
  const at = bytes.indexOf(word);
  return at < 0 ? '' : bytes.toString('latin1', at, at + 64);
}

/** The newest glibc that a program or library asks for. */
export function glibcOf(bytes: Buffer): string {
  let newest = 17;
  for (let at = bytes.indexOf('GLIBC_2.'); at >= 0; at = bytes.indexOf('GLIBC_2.', at + 8)) {
    newest = Math.max(newest, Number.parseInt(bytes.toString('latin1', at + 8, at + 10), 10) || 0);
  }
  return `2.${newest}`;
}

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';

/** What a package puts at a path: a file or folder of here, or text or bytes. */
export type Content = { readonly from: string } | { readonly text: string | Buffer };

export interface Entry {
  /** As installed, without the slash in front. */
  readonly path: string;
  readonly content: Content;
  readonly isProgram?: boolean;
}

export interface Package {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly depends: readonly string[];
  readonly recommends?: readonly string[];
  /** The first line is the synopsis. */
  readonly description: readonly string[];
  readonly entries: readonly Entry[];
  /** Maintainer scripts by their names. */
  readonly scripts: Readonly<Record<string, string>>;
  /** What the user may change, as installed. */
  readonly conffiles: readonly string[];
}

/** Builds `name_version_architecture.deb` in `directory`; the same content and SOURCE_DATE_EPOCH give the same bytes. */
export function buildDeb(made: Package, directory: string): string {
  const root = mkdtempSync(join(tmpdir(), 'mesolite-deb-'));
  try {
    for (const entry of made.entries) place(root, entry);
    const files = filesIn(root);
    const control = join(root, 'DEBIAN');
    mkdirSync(control);
    const write = (name: string, text: string, mode = 0o644) => {
      writeFileSync(join(control, name), text);
      chmodSync(join(control, name), mode);
    };
    write('control', controlOf(made, root, files));
    write('md5sums', files.map(path => `${md5Of(join(root, path))}  ${path}\n`).join(''));
    if (made.conffiles.length > 0) write('conffiles', made.conffiles.map(path => `/${path}\n`).join(''));
    for (const [name, text] of Object.entries(made.scripts)) write(name, text, 0o755);
    for (const path of ['.', ...foldersIn(root)]) chmodSync(join(root, path), 0o755);
    const target = join(directory, `${made.name}_${made.version}_${made.architecture}.deb`);
    mkdirSync(directory, { recursive: true });
    execFileSync('dpkg-deb', ['--root-owner-group', '-Zxz', '--build', root, target], {
      stdio: ['ignore', 'ignore', 2],
    });
    return target;
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** As Debian keeps longer texts. */
export function gzipped(text: string | Buffer): Buffer {
  return gzipSync(text, { level: 9 });
}

function place(root: string, { path, content, isProgram = false }: Entry): void {
  const target = join(root, path);
  mkdirSync(dirname(target), { recursive: true });
  if ('text' in content) writeFileSync(target, content.text);
  else cpSync(content.from, target, { recursive: true });
  for (const file of lstatSync(target).isDirectory() ? filesIn(target).map(name => join(target, name)) : [target]) {
    chmodSync(file, isProgram || isRun(file) ? 0o755 : 0o644);
  }
}

/** npm packages may say so of libraries, which nobody runs. */
function isRun(path: string): boolean {
  return (lstatSync(path).mode & 0o100) !== 0 && readFileSync(path).subarray(0, 2).toString() === '#!';
}

function namesIn(root: string, isWanted: (path: string) => boolean): string[] {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' });
  return names.filter(name => isWanted(join(root, name))).sort();
}

const filesIn = (root: string) => namesIn(root, path => lstatSync(path).isFile());
const foldersIn = (root: string) => namesIn(root, path => lstatSync(path).isDirectory());

function controlOf(
  { name, version, architecture, depends, recommends = [], description }: Package,
  root: string,
  files: readonly string[],
): string {
  const kilobytes = files.reduce((sum, path) => sum + Math.ceil(lstatSync(join(root, path)).size / 1024), 0);
  const [synopsis, ...more] = description;
  const fields: readonly (readonly [string, string])[] = [
    ['Package', name],
    ['Version', version],
    ['Architecture', architecture],
    ['Maintainer', process.env.DEBEMAIL ?? 'Mesolite developers <mesolite@packages.invalid>'],
    ['Installed-Size', `${kilobytes}`],
    ['Depends', depends.join(', ')],
    ['Recommends', recommends.join(', ')],
    ['Section', 'admin'],
    ['Priority', 'optional'],
    ['Description', [synopsis, ...more.map(line => ` ${line === '' ? '.' : line}`)].join('\n')],
  ];
  return fields.flatMap(([key, value]) => (value === '' ? [] : [`${key}: ${value}\n`])).join('');
}

function md5Of(path: string): string {
  return createHash('md5').update(readFileSync(path)).digest('hex');
}

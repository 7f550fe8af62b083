import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { Header, type HeaderData } from 'tar/header';
import { Pax } from 'tar/pax';
import { packTarGz } from '../../src/device/tar-pack.ts';
import { isTarGz, makeLinks, unpackTarGz } from '../../src/device/tar-unpack.ts';

const never = new AbortController().signal;
const bounds = { unpackedBytes: 1024 * 1024, unpackedEntries: 100 };

interface Part extends HeaderData {
  readonly content?: string;
}

/** A tar of any headers, as nobody's tool would write it. */
function tarOf(...parts: readonly Part[]): Buffer {
  const blocks = parts.map(({ content = '', ...data }) => {
    const block = Buffer.alloc(512);
    new Header({ type: 'File', mode: 0o644, size: content.length, mtime: new Date(0), ...data }).encode(block);
    const body = Buffer.alloc(Math.ceil(content.length / 512) * 512);
    body.write(content);
    return Buffer.concat([block, body]);
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

async function unpack(t: Test, archive: Buffer, folder = '.') {
  const home = t.testdir({ root: {} });
  const path = join(home, 'a.tar.gz');
  writeFileSync(path, archive);
  const target = { root: join(home, 'root'), links: new Map() };
  await unpackTarGz(path, target, folder, bounds, never);
  await makeLinks(target);
  return target.root;
}

const link = (path: string, linkpath: string): Part => ({ path, linkpath, type: 'SymbolicLink' });

t.test('files, directories and links come out, with nothing of the mode but whether a file is run', async t => {
  const long = `${'deep/'.repeat(30)}${'n'.repeat(120)}`;
  const archive = tarOf(
    { path: './bin/', type: 'Directory', mode: 0o700 },
    { path: './bin/app', mode: 0o6751, content: 'run me' },
    link('current', 'bin/app'),
    { path: 'hard', linkpath: 'bin/app', type: 'Link' },
    { path: 'conf/empty' },
  );
  const withLong = Buffer.concat([new Pax({ path: long }).encode(), archive]);
  const root = await unpack(t, gzipSync(withLong), 'app');
  t.equal(readFileSync(join(root, 'app/current'), 'utf8'), 'run me');
  t.equal(readFileSync(join(root, 'app/hard'), 'utf8'), 'run me');
  t.equal(statSync(join(root, 'app/bin/app')).mode & 0o7777, 0o755);
  t.equal(statSync(join(root, 'app/conf/empty')).size, 0);
});

const refused: Readonly<Record<string, readonly [Buffer, RegExp]>> = {
  'a path that climbs out': [tarOf({ path: '../evil', content: 'x' }), /leads out/],
  'a path that climbs out from inside': [tarOf({ path: 'a/../../evil' }), /leads out/],
  'an absolute path': [tarOf({ path: '/tmp/mesolite-evil', content: 'x' }), /leads out/],
  'a long name that climbs out': [
    Buffer.concat([new Pax({ path: '../evil' }).encode(), tarOf({ path: 'x' })]),
    /leads out/,
  ],
  'a link to an absolute path': [tarOf(link('a', '/etc/passwd')), /out of the directory/],
  'a link that climbs out': [tarOf(link('a/b', '../../..')), /out of the directory/],
  'a file through a link': [
    tarOf(link('a', '../..'), { path: 'a/evil', content: 'x' }),
    /is there twice|file and a directory/,
  ],
  'a link through a link': [tarOf(link('a', '..'), link('a/evil', 'x')), /below a link/],
  'links that climb out together': [
    tarOf({ path: 'd/e/f/', type: 'Directory' }, link('d/e/up', '../..'), link('out', 'd/e/up/../..')),
    /out of the directory/,
  ],
  'a link to nothing': [tarOf(link('a', 'b')), /where nothing is/],
  'a hard link out': [tarOf({ path: 'a', linkpath: '../../etc/passwd', type: 'Link' }), /leads out/],
  'a hard link to nothing': [tarOf({ path: 'a', linkpath: 'b', type: 'Link' }), /no file before it/],
  'the same file twice': [tarOf({ path: 'a', content: '1' }, { path: './a', content: '2' }), /is there twice/],
  'a file where a directory is': [tarOf({ path: 'a/b' }, { path: 'a' }), /is there twice/],
  'a directory where a file is': [tarOf({ path: 'a' }, { path: 'a/b' }), /file and a directory/],
  'a device': [tarOf({ path: 'null', type: 'CharacterDevice' }), /only files, directories and links/],
  'a pipe': [tarOf({ path: 'p', type: 'FIFO' }), /only files, directories and links/],
  'more than it may unpack to': [
    tarOf({ path: 'zeros', content: '0'.repeat(2 * 1024 * 1024) }),
    /more than 1048576 bytes/,
  ],
  'more entries than there may be': [
    tarOf(...Array.from({ length: 101 }, (_, i) => ({ path: `f${i}` }))),
    /more than 100 entries/,
  ],
  'a file that is cut off': [tarOf({ path: 'a', content: 'x'.repeat(600) }).subarray(0, 1024), /damaged/],
  'a head that was changed': [Buffer.from(tarOf({ path: 'a', content: 'x' })).fill(1, 100, 108), /damaged/],
  'no tar at all': [Buffer.alloc(2048, 'no tar '), /no tar archive/],
  'a gzip in a gzip': [gzipSync(tarOf({ path: 'a' })), /no tar archive/],
};

for (const [what, [tar, why]] of Object.entries(refused)) {
  t.test(`an archive with ${what} is refused, and writes nothing elsewhere`, async t => {
    await t.rejects(unpack(t, gzipSync(tar)), { message: why });
    t.notOk(existsSync(join(t.testdirName, 'evil')));
    t.notOk(existsSync('/tmp/mesolite-evil'));
  });
}

t.test('a gzip that is cut off is refused', async t => {
  const whole = gzipSync(tarOf({ path: 'a', content: 'x'.repeat(5000) }));
  await t.rejects(unpack(t, whole.subarray(0, whole.length - 20)), { message: /damaged/ });
});

async function pack(path: string): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of await packTarGz(path)) pieces.push(piece);
  return Buffer.concat(pieces);
}

t.test('what is packed is the same bytes for the same content, and any tar reads it', async t => {
  const home = t.testdir({ out: {} });
  const make = (name: string, at: number) => {
    const folder = join(home, name);
    mkdirSync(join(folder, 'bin'), { recursive: true });
    const files = [
      ['z', 'last'],
      ['bin/app', '#!/bin/sh\n'],
      [`a${'ä'.repeat(90)}`, ''],
    ] as const;
    for (const [file, text] of at > 1 ? [...files].reverse() : files) {
      writeFileSync(join(folder, file), text, { mode: file === 'bin/app' ? 0o700 : 0o600 });
      utimesSync(join(folder, file), at, at);
    }
    symlinkSync('bin/app', join(folder, 'run'));
    return folder;
  };
  const [one, other] = [await pack(make('one', 1)), await pack(make('other', 1e9))];
  const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  t.equal(hash(one), hash(other));
  const path = join(home, 'one.tar.gz');
  writeFileSync(path, one);
  execFileSync('tar', ['-xzf', path, '-C', join(home, 'out')]);
  t.equal(readFileSync(join(home, 'out/run'), 'utf8'), '#!/bin/sh\n');
  t.equal(statSync(join(home, 'out/bin/app')).mode & 0o777, 0o755);
  t.ok(await isTarGz(path));
  t.same(await pack(path), one, 'a tar.gz goes as it is');
  const root = await unpack(t, one);
  t.equal(readFileSync(join(root, 'z'), 'utf8'), 'last');
});

t.test('one file is packed under its name, and a link that leads out is refused', async t => {
  const home = t.testdir({ 'app.sh': 'echo hello\n', folder: {} });
  const root = await unpack(t, await pack(join(home, 'app.sh')));
  t.equal(readFileSync(join(root, 'app.sh'), 'utf8'), 'echo hello\n');
  const other = t.testdir({ folder: {} });
  symlinkSync('../../x', join(other, 'folder/out'));
  await t.rejects(pack(join(other, 'folder')), { code: 'INVALID_INPUT', message: /leads out/ });
});

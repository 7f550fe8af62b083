import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { isMesoliteError } from '../../src/base/errors.ts';
import { seededRandom } from '../../src/base/random.ts';
import { type FileOperations, systemFileOperations } from '../../src/device/file-operations.ts';
import { openFiles, viewFiles } from '../../src/device/files.ts';
import { VolatileDisk } from '../fixtures/volatile-disk.ts';

const bytes = (text: string) => Buffer.from(text);

t.test('what is written is read, also by who opens the directory later', async t => {
  const directory = join(t.testdir(), 'deep/state');
  const files = await openFiles(directory);
  t.equal(await files.read('boot'), undefined);
  await files.write('boot', bytes('1'));
  await files.write('boot', bytes('2'));
  await files.write('empty', bytes(''));
  const later = await openFiles(directory);
  t.strictSame(await later.read('boot'), { value: bytes('2'), recovered: false });
  t.strictSame(await later.read('empty'), { value: bytes(''), recovered: false });
  t.strictSame(await later.list(), ['boot', 'empty']);
});

t.test('what was set aside is given up when the disk is full, so that what is small is still written', async t => {
  const directory = t.testdir();
  const settings = { operations: fullDisk(directory, 12 * 1024), reserveBytes: 8 * 1024 };
  const files = await openFiles(directory, settings);
  await files.write('big', Buffer.alloc(3 * 1024));
  await files.write('status', Buffer.alloc(2 * 1024, 'x'));
  t.same((await files.read('status'))?.value, Buffer.alloc(2 * 1024, 'x'));
  t.equal(await files.keepReserve(), false, 'there is no room for it');
  await t.rejects(files.write('more', Buffer.alloc(16 * 1024)), { code: 'UNAVAILABLE', message: /no space is left/ });
  t.same(await files.list(), ['big', 'status'], 'nothing is half there');
  await files.remove('big');
  await files.remove('status');
  t.equal(await files.keepReserve(), true);
  t.equal(await (await openFiles(directory, settings)).keepReserve(), true, 'and is found again');
});

t.test('with nothing left the copy before makes room, and one good copy is there at every moment', async t => {
  const directory = t.testdir();
  const files = await openFiles(directory, { operations: fullDisk(directory, 6 * 1024) });
  for (const letter of ['a', 'b', 'c']) await files.write('boot', Buffer.alloc(2 * 1024, letter));
  t.same(await files.read('boot'), { value: Buffer.alloc(2 * 1024, 'c'), recovered: false });
  await t.rejects(files.write('boot', Buffer.alloc(5 * 1024)), { code: 'UNAVAILABLE', message: /no space is left/ });
  t.same((await files.read('boot'))?.value, Buffer.alloc(2 * 1024, 'c'));
});

t.test('who looks at what tasks can write is led nowhere by a link, and waits for no pipe', async t => {
  const directory = t.testdir();
  const files = await openFiles(directory);
  await files.write('boot', Buffer.from('here'));
  symlinkSync('boot', join(directory, 'link'));
  execFileSync('mkfifo', [join(directory, 'pipe')]);
  await t.rejects(viewFiles(directory).read('link'), { code: 'UNAVAILABLE', message: /it is a link/ });
  await t.rejects(viewFiles(directory).read('pipe'), { code: 'UNTRUSTED' });
});

/** The real one, with room for so many bytes. */
function fullDisk(directory: string, room: number): FileOperations {
  const used = () => readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  return {
    ...systemFileOperations,
    async create(path) {
      const file = await systemFileOperations.create(path);
      return {
        ...file,
        async write(bytes) {
          if (used() + bytes.length > room) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
          await file.write(bytes);
        },
      };
    },
  };
}

t.test('files are for their owner alone', async t => {
  const directory = join(t.testdir(), 'state');
  const files = await openFiles(directory);
  await files.write('key', bytes('secret'));
  t.equal(statSync(directory).mode & 0o777, 0o700);
  t.equal(statSync(join(directory, 'key')).mode & 0o777, 0o600);
});

t.test('a torn or changed file gives way to the good one before, and says so', async t => {
  const directory = t.testdir();
  const path = join(directory, 'policy');
  const files = await openFiles(directory);
  await files.write('policy', bytes('first'));
  await files.write('policy', bytes('second'));
  truncateSync(path, statSync(path).size - 1);
  t.strictSame(await files.read('policy'), { value: bytes('first'), recovered: true });
  await files.write('policy', bytes('third'));
  writeFileSync(
    path,
    readFileSync(path).map((byte, at, all) => (at === all.length - 1 ? byte ^ 1 : byte)),
  );
  t.strictSame(await files.read('policy'), { value: bytes('first'), recovered: true }, 'damage is no copy to keep');
});

t.test('when every copy is damaged the answer is an error, not an old or empty value', async t => {
  const files = await openFiles(t.testdir({ policy: 'rubbish' }));
  await t.rejects(files.read('policy'), { code: 'UNTRUSTED', message: /no good copy/ });
  await files.write('policy', bytes('new'));
  t.strictSame(await files.read('policy'), { value: bytes('new'), recovered: false });
});

t.test('the same content again writes nothing', async t => {
  const disk = new VolatileDisk();
  const files = await openFiles('/state', { operations: disk });
  await files.write('a', bytes('x'));
  const before = disk.operations;
  await files.write('a', bytes('x'));
  t.equal(disk.operations - before, 1, 'one read');
});

t.test('a removed file is gone with all its copies', async t => {
  const directory = t.testdir();
  const files = await openFiles(directory);
  await files.write('task', bytes('1'));
  await files.write('task', bytes('2'));
  await files.remove('task');
  await files.remove('task');
  t.equal(await files.read('task'), undefined);
  t.strictSame(readdirSync(directory), []);
});

t.test('what a writer left half-done is cleared away', async t => {
  const directory = t.testdir({ 'policy~new': 'half' });
  const files = await openFiles(directory);
  t.strictSame(await files.list(), []);
  t.strictSame(readdirSync(directory), []);
});

t.test('writers and readers of one file take turns', async t => {
  const files = await openFiles(t.testdir());
  const writes = Array.from({ length: 20 }, (_, i) => files.write('a', bytes(String(i))));
  const reads = Array.from({ length: 20 }, () => files.read('a'));
  await Promise.all(writes);
  for (const read of await Promise.all(reads)) t.strictSame(read, { value: bytes('19'), recovered: false });
});

t.test('names and sizes have bounds', async t => {
  const files = await openFiles(t.testdir(), { maxBytes: 10 });
  for (const name of ['', '../up', 'a/b', '.hidden', 'a~previous', 'x'.repeat(201)]) {
    t.throws(() => files.read(name), { code: 'INVALID_INPUT' }, name);
  }
  t.throws(() => files.write('a', bytes('12345678901')), { code: 'TOO_LARGE' });
  await files.write('hello.default.A1_b-c', bytes('1234567890'));
  t.strictSame(await files.list(), ['hello.default.A1_b-c']);
});

t.test('a directory that cannot be made or written is one plain sentence', async t => {
  const directory = t.testdir({ file: 'x' });
  await t.rejects(openFiles(join(directory, 'file/state')), {
    code: 'START_FAILED',
    message:
      /^cannot write in the directory .*\/file\/state \(a part of the path is not a directory\): make it writable/,
  });
  if (process.getuid?.() !== 0) {
    chmodSync(directory, 0o500);
    await t.rejects(openFiles(directory), { code: 'START_FAILED', message: /permission denied/ });
    chmodSync(directory, 0o700);
  }
});

t.test('a full disk leaves the old content, and no leftover', async t => {
  const directory = t.testdir();
  let full = false;
  const operations = {
    ...systemFileOperations,
    async create(path: string) {
      const file = await systemFileOperations.create(path);
      return {
        ...file,
        async write(bytes: Uint8Array) {
          if (!full) return file.write(bytes);
          await file.write(bytes.subarray(0, 3));
          throw Object.assign(new Error('write'), { code: 'ENOSPC' });
        },
      };
    },
  };
  const files = await openFiles(directory, { operations });
  await files.write('a', bytes('old'));
  full = true;
  await t.rejects(files.write('a', bytes('new')), { code: 'UNAVAILABLE', message: /no space is left on the disk/ });
  full = false;
  t.strictSame(await files.read('a'), { value: bytes('old'), recovered: false });
  t.strictSame(readdirSync(directory), ['a']);
});

t.test('after a power cut at any moment a file is what was last written, or what was being written', async () => {
  const plan = fc.array(fc.oneof(fc.string({ maxLength: 40 }), fc.constant(undefined)), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(plan, { minLength: 1, maxLength: 4 }),
      fc.nat(60),
      fc.integer(),
      async (lives, cut, seed) => {
        const disk = new VolatileDisk();
        const random = seededRandom(seed);
        let acknowledged: string | undefined;
        for (const life of lives) {
          let underWay = acknowledged;
          disk.failAfter(Math.floor(random() * cut));
          try {
            const files = await openFiles('/state', { operations: disk });
            for (const value of life) {
              underWay = value;
              await (value === undefined ? files.remove('a') : files.write('a', bytes(value)));
              acknowledged = value;
            }
          } catch (error) {
            if (!isMesoliteError(error)) throw error;
          }
          disk.restart(random);
          const found = await (await openFiles('/state', { operations: disk })).read('a');
          const value = found?.value.toString();
          if (value !== acknowledged && value !== underWay) {
            throw new Error(`found ${value}, not ${acknowledged} nor ${underWay}`);
          }
          acknowledged = value;
        }
      },
    ),
    { seed: 20_304, numRuns: 2_000 },
  );
});

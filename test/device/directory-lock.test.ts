import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { lockDirectory } from '../../src/device/directory-lock.ts';
import { identify } from '../../src/device/process-identity.ts';

t.test('a directory is kept for one, until it is let go', async t => {
  const directory = t.testdir();
  const letGo = await lockDirectory(directory);
  await t.rejects(lockDirectory(directory), {
    code: 'START_FAILED',
    message: new RegExp(`^another agent \\(process ${process.pid}\\) works in .*: stop it first`),
  });
  await letGo();
  t.notOk(existsSync(join(directory, 'lock')));
  await (await lockDirectory(directory))();
});

t.test('of many that start at once, one gets it', async t => {
  const directory = t.testdir();
  const all = await Promise.allSettled(Array.from({ length: 8 }, () => lockDirectory(directory)));
  t.equal(all.filter(({ status }) => status === 'fulfilled').length, 1);
});

t.test('what a process left that has ended, or that another one has its id by now, keeps nobody out', async t => {
  const directory = t.testdir();
  await lockDirectory(directory);
  const [, boot, start, place] = readFileSync(join(directory, 'lock'), 'utf8').split('\n');
  const child = spawn('sleep', ['100']);
  const ofChild = await identify(child.pid ?? 0);
  child.kill('SIGKILL');
  await once(child, 'exit');
  for (const holder of [
    [ofChild?.pid, boot, ofChild?.start, place],
    [process.pid, boot, Number(start) + 1, place],
    [process.pid, 'another boot', start, place],
    [],
  ]) {
    writeFileSync(join(directory, 'lock'), `${holder.join('\n')}\n`);
    await t.resolves(lockDirectory(directory), holder.join(' '));
  }
});

t.test('the lock of a copied directory is not that of the copy', async t => {
  const directory = t.testdir({ one: {} });
  await lockDirectory(join(directory, 'one'));
  cpSync(join(directory, 'one'), join(directory, 'two'), { recursive: true });
  await t.resolves(lockDirectory(join(directory, 'two')));
});

/** A file system of 256 KB in memory, which only the command behind it sees. */
const small = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs -o size=256k small "$0" && exec "$@" "$0"'];
const [unshare = '', ...rest] = small;
const skip = spawnSync(unshare, [...rest, '/mnt', 'true']).status !== 0 && 'nothing can be mounted here';

t.test(
  'on a full disk there is room for it in what was set aside, and in what who has ended left',
  { skip },
  async t => {
    const main = fileURLToPath(new URL('../fixtures/full-disk-main.js', import.meta.url));
    const args = [...rest, t.testdir(), process.execPath, main];
    const said = await promisify(execFile)(unshare, args, { encoding: 'utf8' });
    t.same(JSON.parse(said.stdout), { kept: 'refused', withReserve: 'had', withLeftLock: 'had', written: 'second' });
  },
);

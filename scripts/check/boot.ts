/**
 * Boots a Debian under systemd, whose agent comes from our Debian package and joins a master on this machine: what holds its tasks, what becomes
 * of them when the unit restarts, hangs, is reloaded or upgraded, and after a power cut without a network. It has a kernel and cgroup v2 of its
 * own, under qemu, which computes its processors where the machine lends none (KVM); with `--container` it is one of systemd-nspawn, in seconds,
 * on this machine's kernel and what that has of cgroup v2. `--only limits|service|power` (all); `--cache DIR` (or MESOLITE_CACHE) keeps the
 * Debian, 0.4 GB; `--packages DIR` has packages that are made already; `--json` prints one object a row. Needs root; the exit code is 1 when
 * something does not hold.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { NodeView } from '../../src/model/api.ts';
import { Board, startMaster, unit } from './boot/board.ts';
import { patienceMs } from './boot/guest.ts';
import { imagePrograms, makeBootable, makeImage, makePackages } from './boot/image.ts';
import { Counter, checkLimits } from './boot/limits.ts';
import { Container, nspawnPrograms } from './boot/nspawn.ts';
import { Machine, qemuPrograms } from './boot/qemu.ts';
import { checkPowerCut, checkService } from './boot/service.ts';
import { insistOn } from './debian/needs.ts';
import { fact, type Hold, printRow, say } from './rows.ts';

const { values } = parseArgs({
  options: {
    cache: { type: 'string', default: process.env.MESOLITE_CACHE ?? join(tmpdir(), 'mesolite-debian') },
    container: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: ['limits', 'service', 'power'] },
    packages: { type: 'string' },
  },
});

/** Says that this process has a network and mounts of its own. */
const ownNamespaces = 'MESOLITE_BOOT_APART';

const hold: Hold = (name, row) => {
  const value = Math.round(row.value * 100) / 100;
  if (values.json) printRow({ case: name, ...row, value, peer: null, ratio: null });
  else say(`${row.met ? 'holds         ' : 'DOES NOT HOLD '}  ${name}: ${value} ${row.unit} (${row.goal})`);
  if (!row.met) process.exitCode = 1;
};

async function check(folder: string): Promise<void> {
  const tree = await makeBootable(resolve(values.cache));
  const packages = values.packages ?? (await makePackages(folder));
  const guest = values.container
    ? await Container.make({ tree, packages }, folder)
    : new Machine(await makeImage(tree, packages, folder), folder);
  const start = performance.now();
  // in a network namespace of its own that is nobody else's; qemu leads its guest to our loopback
  const master = await startMaster(values.container ? '0.0.0.0' : '127.0.0.1', folder);
  try {
    await guest.booted();
    const seconds = (performance.now() - start) / 1_000;
    hold('boot under systemd', { value: seconds, unit: 's', goal: patienceMs / 1_000, met: true });
    const board = new Board(guest, master.mesolite, folder);
    const { controllers = [], warnings = [] } = await installAndJoin(board);
    const counter = await Counter.start(board);
    const isWanted = (part: string) => values.only.includes(part);
    if (controllers.length === 3 && isWanted('limits')) await checkLimits(board, hold, counter);
    else if (isWanted('limits')) process.stderr.write(`  limits are not shown: ${warnings.join('; ')}\n`);
    if (isWanted('service')) await checkService(board, hold, counter);
    if (isWanted('power')) await checkPowerCut(board, hold, counter);
  } catch (error) {
    const log = await guest.run(`journalctl --no-pager --lines 40 --unit ${unit}`, 60_000).catch(() => undefined);
    process.stderr.write(`${log?.output ?? readFileSync(join(folder, 'console.log'), 'utf8').slice(-4_000)}\n`);
    throw error;
  } finally {
    await guest.stop();
    await master.stop();
  }
}

async function installAndJoin(board: Board): Promise<NodeView> {
  const { guest, mesolite } = board;
  await guest.bring();
  await board.text('dpkg --install /root/packages/mesolite_*_all.deb');
  const isIdle = (await board.property('ActiveState')) === 'inactive';
  hold('installed: nothing runs before the node has joined', fact(isIdle, 'packages'));
  const { join: text }: { join: string } = JSON.parse(
    await mesolite.text('token', 'create', '--node', 'board', '-o', 'json'),
  );
  await board.text(`mesolite-join '${text}'`);
  const node = await board.ready();
  const [type, state] = [await board.property('Type'), await board.property('ActiveState')];
  const met = type === 'notify' && state === 'active';
  hold('joined: the unit is active by the word of the agent (Type=notify)', fact(met, 'units'));
  return node;
}

insistOn({ ...imagePrograms, ...(values.container ? nspawnPrograms : qemuPrograms) });
if (values.container && process.env[ownNamespaces] === undefined) {
  const again = [process.execPath, ...process.argv.slice(1)];
  const env = { ...process.env, [ownNamespaces]: '1' };
  process.exit(spawnSync('unshare', ['--net', '--mount', ...again], { stdio: 'inherit', env }).status ?? 1);
}
const folder = mkdtempSync(join(tmpdir(), 'mesolite-boot-'));
try {
  await check(folder);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit();

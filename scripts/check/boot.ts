/**
 * Boots a Debian under systemd, whose agent comes from our Debian package and joins a master on this machine: what holds its tasks (`cpu`,
 * `memory`, `pids`; `node-memory` and `node-pids` where one takes all that there is), what the unit lets them do (`unit`), what becomes of them
 * when it restarts, hangs, is reloaded or upgraded (`service`), and after a power cut without a network (`power`). It has a kernel and cgroup v2
 * of its own, under qemu, which computes its processors where the machine lends none (KVM); with `--container` it is one of systemd-nspawn, in
 * seconds, on this machine's kernel, which limits nothing then. `--only PART` (all); `--cache DIR` (or MESOLITE_CACHE) keeps the Debian, 0.4 GB;
 * `--packages DIR` has packages that are made already; `--json` prints one object a row. Needs root; the exit code is 1 when something does not
 * hold.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '../../src/base/errors.ts';
import type { NodeView } from '../../src/model/api.ts';
import { Board, startMaster, unit } from './boot/board.ts';
import { Counter } from './boot/counter.ts';
import { consoleName, type Guest, patienceMs } from './boot/guest.ts';
import { imagePrograms, makeBootable, makeImage, makePackages } from './boot/image.ts';
import { limits } from './boot/limits.ts';
import { Container, nspawnPrograms } from './boot/nspawn.ts';
import { Machine, qemuPrograms } from './boot/qemu.ts';
import { checkPowerCut, checkService } from './boot/service.ts';
import { checkUnit } from './boot/unit.ts';
import { insistOn } from './debian/needs.ts';
import { fact, type Hold, printRow, say } from './rows.ts';

const checks = { ...limits, unit: checkUnit, service: checkService, power: checkPowerCut } as const;

const { values } = parseArgs({
  options: {
    cache: { type: 'string', default: process.env.MESOLITE_CACHE ?? join(tmpdir(), 'mesolite-debian') },
    container: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: Object.keys(checks) },
    packages: { type: 'string' },
  },
});

/** By what somebody ends this process. */
const ends = ['SIGINT', 'SIGTERM'] as const;
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
  const since = performance.now();
  const guest = values.container
    ? await Container.make({ tree, packages }, folder)
    : new Machine(await makeImage(tree, packages, folder), folder);
  try {
    // in a network namespace of its own that is nobody else's; qemu leads its guest to our loopback
    const master = await startMaster(values.container ? '0.0.0.0' : '127.0.0.1', folder);
    try {
      await Promise.race([interrupted(), boot(guest, new Board(guest, master.mesolite, folder), folder, since)]);
    } finally {
      await master.stop();
    }
  } finally {
    await guest.stop();
  }
}

/** Runs this program again where no network but its own is; resolves to its exit code. */
async function checkApart(): Promise<number> {
  // it is downloaded, if it is not kept
  await makeBootable(resolve(values.cache));
  const again = [process.execPath, ...process.argv.slice(1)];
  const env = { ...process.env, [ownNamespaces]: '1' };
  const child = spawn('unshare', ['--net', '--mount', ...again], { stdio: 'inherit', env });
  for (const name of ends) process.on(name, () => child.kill(name));
  return new Promise(resolve => child.once('exit', code => resolve(code ?? 1)));
}

/** Rejects when somebody ends this process: what it has started is to end with it. */
function interrupted(): Promise<never> {
  return new Promise((_, reject) => {
    for (const name of ends) process.once(name, () => reject(new Error(`ended by ${name}`)));
  });
}

async function boot(guest: Guest, board: Board, folder: string, since: number): Promise<void> {
  const toItsEnd = async <T>(name: string, part: () => Promise<T>) => {
    try {
      return await part();
    } catch (error) {
      hold(`${name}: to its end`, fact(false, 'parts'));
      process.stderr.write(`${messageOf(error)}\n${await lastWords(guest, folder)}\n`);
      return undefined;
    }
  };
  const counter = await toItsEnd('join', () => start(guest, board, since));
  if (counter === undefined) return;
  for (const [name, part] of Object.entries(checks)) {
    // a container has the controllers of this machine, which may be in cgroup v1, and its memory, which is not to run out
    const isShown = values.only.includes(name) && (guest.isMachine || !(name in limits));
    if (isShown) await toItsEnd(name, () => part(board, hold, counter));
  }
}

async function start(guest: Guest, board: Board, since: number): Promise<Counter> {
  await guest.booted();
  const seconds = (performance.now() - since) / 1_000;
  hold('boot under systemd', { value: seconds, unit: 's', goal: patienceMs / 1_000, met: true });
  const { length } = (await installAndJoin(board)).controllers ?? [];
  if (guest.isMachine) {
    hold('joined: the kernel limits what tasks take', {
      value: length,
      unit: 'controllers',
      goal: 3,
      met: length === 3,
    });
  }
  return Counter.start(board);
}

/** What agent and systemd have said last, or else the kernel. */
async function lastWords(guest: Guest, folder: string): Promise<string> {
  const asked = await guest.run(`journalctl --no-pager --lines 40 --unit ${unit}`, 120_000).catch(() => undefined);
  return asked?.output ?? readFileSync(join(folder, consoleName), 'utf8').slice(-2_000);
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

const unknown = values.only.filter(name => !(name in checks));
if (unknown.length > 0) {
  process.stderr.write(`--only: expected ${Object.keys(checks).join(', ')}, got ${unknown.join(', ')}\n`);
  process.exit(2);
}
insistOn({ ...imagePrograms, ...(values.container ? nspawnPrograms : qemuPrograms) });
const folder = mkdtempSync(join(tmpdir(), 'mesolite-boot-'));
try {
  if (values.container && process.env[ownNamespaces] === undefined) process.exitCode = await checkApart();
  else await check(folder);
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit();

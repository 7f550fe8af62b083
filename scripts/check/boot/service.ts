import { fact, type Hold } from '../rows.ts';
import { type Board, unit } from './board.ts';
import type { Counter } from './counter.ts';
import { patienceMs, patiently } from './guest.ts';

const watchdogSeconds = 20;

/** The agent as a unit of systemd: whatever becomes of it, the process of `counter` stays what it is. */
export async function checkService(board: Board, hold: Hold, counter: Counter): Promise<void> {
  const process = await counter.goesOn();
  const keeps = async (what: string, act: (pid: string) => Promise<unknown>) => {
    const before = await board.property('MainPID');
    const since = (await board.node())?.lastSeen ?? 0;
    await act(before);
    await board.another(before);
    await board.ready(since);
    const isSame = (await counter.goesOn()) === process;
    hold(`${what}: another process is the agent, the task stays`, fact(isSame, 'tasks'));
  };
  await keeps('restart', () => board.text(`systemctl restart ${unit}`));
  await keeps('kill -9', pid => board.text(`kill -KILL ${pid}`));
  await keeps('reload, MAINPID handed over', () => board.text(`systemctl reload ${unit}`));
  await keeps('upgrade of the package', () => board.text('dpkg --install /root/packages/mesolite_*_all.deb'));
  await keeps('watchdog', async () => {
    await board.restart(`[Service]\nWatchdogSec=${watchdogSeconds}`);
    const stopped = await board.property('MainPID');
    await board.text(`kill -STOP ${stopped}`);
    await board.another(stopped);
    const said = await board.guest.run(`journalctl --no-pager --unit ${unit} | grep 'Watchdog timeout'`);
    hold('watchdog: systemd ends an agent that hangs', fact(said.code === 0, 'times'));
    await board.restart();
  });
  await checkActivation(board, hold);
}

async function checkActivation(board: Board, hold: Hold): Promise<void> {
  await board.text(`systemctl stop ${unit}.service`);
  await patiently('the agent has ended', async () =>
    (await board.property('ActiveState')) === 'inactive' ? true : undefined,
  );
  const since = (await board.node())?.lastSeen ?? 0;
  // whoever calls meanwhile waits for it
  await board.text(`node -e 'const s = require("net").connect(15008, "127.0.0.1", () => s.end())'`);
  await board.another('0');
  await board.ready(since);
  hold('socket activation: a call starts an agent that was stopped', fact(true, 'agents'));
}

/** What a node does by itself after the power has come back, without a network, and with one again. */
export async function checkPowerCut(board: Board, hold: Hold, counter: Counter): Promise<void> {
  const { guest } = board;
  const before = await board.text(whichBoot);
  const since = (await board.ready()).lastSeen;
  await guest.link(false);
  await guest.cutPower();
  const start = performance.now();
  await guest.booted();
  const hostSeconds = (performance.now() - start) / 1_000;
  const isAnother = (await board.text(whichBoot)) !== before;
  hold('power cut: it boots again', { value: hostSeconds, unit: 's', goal: patienceMs / 1_000, met: isAnother });
  await counter.goesOn();
  const upSeconds = Number(await board.text('cut -d " " -f 1 /proc/uptime'));
  const booted = Number(await board.text(bootedSeconds));
  const isDown = (await board.node())?.lastSeen === since;
  const late = upSeconds - booted;
  hold('no network: the task runs so long after the boot', {
    value: late,
    unit: 's',
    goal: maxLateSeconds,
    met: isDown && late <= maxLateSeconds,
  });
  await guest.link(true);
  await board.ready(since);
  const [task] = await board.tasks('counter');
  const isBack = task?.state === 'TASK_RUNNING' && task.id === counter.task.id;
  hold('network again: the node is back with its task', fact(isBack, 'tasks'));
}

/** A machine has another id after each, a container another first process. */
const whichBoot = 'cat /proc/sys/kernel/random/boot_id; cut -d " " -f 22 /proc/1/stat';
/** Nothing that waits for a network may hold tasks up; on a computed processor an agent takes half of this to start. */
const maxLateSeconds = 60;
/** When basic.target was reached, in seconds since the kernel began. */
const bootedSeconds =
  'echo $(( $(systemctl show --property=ActiveEnterTimestampMonotonic --value basic.target) / 1000000 ))';

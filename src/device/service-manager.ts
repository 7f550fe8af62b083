import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Clock, secondMs } from '../base/clock.ts';

/** Why no other process may take the place of this one; undefined where it may. systemd would take its end for that of the service. */
export function whyNotFollowed(
  { SYSTEMD_EXEC_PID, NOTIFY_SOCKET }: NodeJS.ProcessEnv,
  pid: number,
): string | undefined {
  if (SYSTEMD_EXEC_PID !== `${pid}` || NOTIFY_SOCKET !== undefined) return undefined;
  return 'systemd does not let another process follow this one: set NotifyAccess=all in its unit';
}

/** The ports that systemd keeps open for these units, as `mesolite-agent.socket`, whether or not their service runs. */
export async function heldPorts(units: readonly string[], { PATH }: NodeJS.ProcessEnv): Promise<ReadonlySet<number>> {
  const options = { env: { PATH }, timeout: 5 * secondMs };
  const asked = promisify(execFile)('systemctl', ['show', '--property=ActiveState,Listen', ...units], options);
  const { stdout } = await asked.catch(() => ({ stdout: '' }));
  const active = stdout.split('\n\n').filter(unit => /^ActiveState=active$/m.test(unit));
  return new Set(active.flatMap(unit => [...unit.matchAll(/:(\d+) \(Stream\)/g)].map(([, port]) => Number(port))));
}

/** What systemd is told by a process that it has started, or that follows such a one; nothing where another has started it. */
export interface ServiceManager {
  /** This process is the service from now on, and is up. */
  isUp(): Promise<void>;
  /** Another process shall follow, or all is read anew: it is up again when one says so. */
  isReloading(): Promise<void>;
  isStopping(): Promise<void>;
  /** Tells that this process is alive as often as the unit wants it (WatchdogSec=), until `signal` aborts. */
  stayAlive(clock: Clock, signal: AbortSignal): Promise<void>;
}

/**
 * As sd_notify(3) has it. Node opens no datagram socket of Unix, so a program of systemd says each word, one after the other: a few
 * milliseconds, with the three minutes of our units 60 times an hour. Since that is a child, whatever the service has started may speak
 * for it, so which process is the main one is said again and again.
 */
export function openServiceManager(
  { NOTIFY_SOCKET, PATH, WATCHDOG_USEC }: NodeJS.ProcessEnv,
  pid: number,
): ServiceManager {
  const everyMs = /^\d{4,15}$/.test(WATCHDOG_USEC ?? '') ? Number(WATCHDOG_USEC) / 1_000 / 3 : undefined;

  let told = Promise.resolve();
  let isMain = false;

  function tell(...words: readonly string[]): Promise<void> {
    if (NOTIFY_SOCKET === undefined) return told;
    const options = { env: { NOTIFY_SOCKET, PATH }, timeout: 5 * secondMs };
    const say = () => new Promise<void>(resolve => execFile('systemd-notify', words, options, () => resolve()));
    told = told.then(say);
    return told;
  }

  return {
    isUp() {
      isMain = true;
      return tell(`MAINPID=${pid}`, 'READY=1');
    },
    isReloading() {
      // what was said before has arrived when this has: it does not take the place of the next process
      isMain = false;
      return tell('RELOADING=1');
    },
    isStopping: () => tell('STOPPING=1'),
    async stayAlive(clock, signal) {
      if (NOTIFY_SOCKET === undefined || everyMs === undefined) return;
      while (await clock.sleep(everyMs, signal, 'loop'))
        await tell(...(isMain ? [`MAINPID=${pid}`] : []), 'WATCHDOG=1');
    },
  };
}

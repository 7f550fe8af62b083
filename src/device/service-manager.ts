import { execFile } from 'node:child_process';
import { secondMs } from '../base/clock.ts';

/** Why no other process may take the place of this one; undefined where it may. systemd would take its end for that of the service. */
export function whyNotFollowed(
  { SYSTEMD_EXEC_PID, NOTIFY_SOCKET }: NodeJS.ProcessEnv,
  pid: number,
): string | undefined {
  if (SYSTEMD_EXEC_PID !== `${pid}` || NOTIFY_SOCKET !== undefined) return undefined;
  return 'systemd does not let another process follow this one: set NotifyAccess=all in its unit';
}

/** Tells systemd which process is the service from now on (sd_notify(3)); nothing where another has started it. */
export async function followProcess({ NOTIFY_SOCKET, PATH }: NodeJS.ProcessEnv, pid: number): Promise<void> {
  if (NOTIFY_SOCKET === undefined) return;
  const options = { env: { NOTIFY_SOCKET, PATH }, timeout: 5 * secondMs };
  await new Promise<void>(resolve => execFile('systemd-notify', [`MAINPID=${pid}`], options, () => resolve()));
}

import { spawn } from 'node:child_process';
import type { Log } from '../base/log.ts';
import { onAbort } from '../base/signal.ts';
import { shell } from './shim.ts';

/**
 * `sh -c <this> mesolite-log-guard <tasks' directory> <its own file> <bytes> <seconds>`: sleeps until its standard input ends, as it does with the agent
 * however that ends. Then it looks every few seconds, while a task runs that the agent has left, and cuts a log of more than twice `bytes` as
 * the agent does. The guard of the next agent takes its place: the newest is in the file.
 * - the log is open for appending, so what its task writes after a cut begins at the front;
 * - `-size` counts blocks of 512 bytes; `find -maxdepth` and `tail -c` are in BusyBox, too.
 */
const guardScript = `
tasks=$1 file=$2 bytes=$3 seconds=$4
umask 077
cd / && echo $$ >"$file" || exit
read -r word
while read -r newest <"$file" && [ "$newest" = $$ ]; do
  running=
  for run in "$tasks"/*/run.*; do
    if [ -d "$run" ] && [ ! -e "$run/exit" ]; then running=1; break; fi
  done
  [ -n "$running" ] || exit
  find "$tasks" -maxdepth 2 -name 'std*.log' -size +$((bytes / 256)) | while read -r log; do
    tail -c "$bytes" "$log" >"$log.new" && mv "$log.new" "$log.1"
    echo '[mesolite: cut here, since no agent ran]' >"$log"
  done
  sleep "$seconds"
done
`;

/**
 * Keeps the logs of tasks bounded while no agent runs, from when `signal` aborts or this process has ended: by a process of its own, which
 * takes no time until then. Resolves with its pid; undefined, and said why, where it does not start.
 */
export function startLogGuard(
  { log }: { readonly log: Log },
  settings: {
    readonly tasks: string;
    /** Where it writes who it is. */
    readonly file: string;
    readonly maxBytes: number;
    readonly everySeconds?: number;
  },
  signal: AbortSignal,
): Promise<number | undefined> {
  const { tasks, file, maxBytes, everySeconds = 5 } = settings;
  const args = ['mesolite-log-guard', tasks, file, `${maxBytes}`, `${everySeconds}`];
  const guard = spawn(shell, ['-c', guardScript, ...args], {
    env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const { stdin } = guard;
  stdin.on('error', () => {});
  guard.unref();
  // a pipe is a socket to Node
  if ('unref' in stdin && typeof stdin.unref === 'function') stdin.unref();
  onAbort(signal, () => stdin.end());
  return new Promise(resolve => {
    guard.once('spawn', () => resolve(guard.pid));
    guard.once('error', error => {
      log.warn('logs of tasks are not bounded while no agent runs', { reason: error.message });
      resolve(undefined);
    });
  });
}

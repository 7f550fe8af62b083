import { eventually } from '../../quickstart/programs.ts';
import type { Ended } from '../debian/program.ts';

/** A processor that is computed takes its time. */
export const patienceMs = 900_000;

/** Asks until there is an answer, not so often that the asking takes the time of what is waited for. */
export function patiently<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  return eventually(what, patienceMs, ask, 2_000);
}

/** What it says on its console, as a file in the folder of the check. */
export const consoleName = 'console.log';

/** A system that systemd has booted, and that sees this machine as 10.0.2.2. */
export interface Guest {
  /** A kernel of its own, that has all controllers and may run out of memory. */
  readonly isMachine: boolean;
  /** Resolves when it has booted, for the first time or again. */
  booted(): Promise<void>;
  /** Puts the Debian packages of this checkout into its /root/packages. */
  bring(): Promise<void>;
  /** Runs a command of its shell, as root. */
  run(command: string, withinMs?: number): Promise<Ended>;
  /** Plugs its network cable in or out. */
  link(isIn: boolean): Promise<void>;
  /** As when the power goes and comes back. */
  cutPower(): Promise<void>;
  stop(): Promise<void>;
}

/** As `run`: its output; throws when it fails. */
export async function textOf(guest: Guest, command: string): Promise<string> {
  const { code, output } = await guest.run(command);
  if (code === 0) return output;
  throw new Error(`\`${command}\` failed in the guest (exit code ${code}): ${output.slice(-1_000)}`);
}

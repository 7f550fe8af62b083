/** How one run of a task's process came to its end. */
export type TaskExit = (
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'signaled'; readonly signal: string }
  /** It is gone and nobody saw how: the machine stopped, or somebody killed what watched it. */
  | { readonly kind: 'unknown' }
) & {
  /** The kernel has ended a process of it, since together they had used up their memory. */
  readonly outOfMemory?: true;
  /** The kernel has refused it a process: it had all that it may have or, before Linux 6.11, those around it had. */
  readonly outOfProcesses?: true;
};

/** An exit in words for a status message, with what the kernel held it to. */
export function describeExit(exit: TaskExit): string {
  // who has done its work has done without
  const isRefused = exit.outOfProcesses && !isSuccess(exit);
  const bounds = [exit.outOfMemory && 'out of memory; ', isRefused && 'was refused a process; '];
  return bounds.filter(Boolean).join('') + describeEnd(exit);
}

function describeEnd(exit: TaskExit): string {
  switch (exit.kind) {
    case 'exited':
      return `exit code ${exit.code}${shellMeaning(exit.code)}`;
    case 'signaled':
      return `ended by ${exit.signal}`;
    case 'unknown':
      return 'ended unseen, its exit status is not known';
    default:
      return exit satisfies never;
  }
}

/** What a shell means by its two special codes (POSIX XCU 2.8.2). */
function shellMeaning(code: number): string {
  if (code === 126) return ': a command was found and could not be executed';
  if (code === 127) return ': a command, or the interpreter that its first line names, was not found';
  return '';
}

export function isSuccess(exit: TaskExit): boolean {
  return exit.kind === 'exited' && exit.code === 0;
}

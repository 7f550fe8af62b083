import { readdirSync } from 'node:fs';
import { numberOf, textOf } from './kernel-files.ts';
import { hasProc, readStat } from './process-identity.ts';

/** A task as what it uses is counted: by its cgroup, or else by the session that its first process leads. */
export interface CountedTask {
  readonly pid: number;
  readonly cgroup: { members(): readonly number[] } | undefined;
}

/** What each of `tasks` holds in memory that nobody else does and that no file could give again, in bytes. */
export function readTaskMemory<T extends CountedTask>(tasks: readonly T[]): Map<T, number> {
  const isScanned = tasks.some(task => task.cgroup === undefined) && hasProc();
  const bySession = isScanned ? readSessions() : new Map<number, number[]>();
  return new Map(
    tasks.map(task => {
      const members = task.cgroup?.members() ?? bySession.get(task.pid) ?? [];
      return [task, members.reduce((sum, pid) => sum + readOwnBytes(pid), 0)];
    }),
  );
}

function readSessions(): Map<number, number[]> {
  const sessions = new Map<number, number[]>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const session = readStat(entry)?.session;
    if (session !== undefined) sessions.set(session, [...(sessions.get(session) ?? []), Number(entry)]);
  }
  return sessions;
}

/** proc_pid_status(5); not the whole of VmRSS, in which each process that maps the same program has it again. */
function readOwnBytes(pid: number): number {
  const text = textOf(`/proc/${pid}/status`);
  const kilobytes = (name: string) => numberOf(text, name) ?? 0;
  // Linux before 4.5 has the whole alone
  const own = kilobytes('RssAnon') + kilobytes('RssShmem');
  return 1024 * (own > 0 ? own : kilobytes('VmRSS'));
}

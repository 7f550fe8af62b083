/** Lines of sh that take from a command what it would inherit of the agent: `shimScript` says what, and why. */
export const yieldToAgent = `ulimit -c 0
  { ulimit -Sn 4096; ulimit -Hn 65536; } 2>/dev/null
  { echo 500 >/proc/self/oom_score_adj; } 2>/dev/null`;

/**
 * What stands between the agent and a task: `sh -c <this> mesolite-task <run directory> <cgroup, or empty> <command …>`, the
 * leader of the task's session and process group. It enters the cgroup, writes who it is (`pid`: its process id, the machine's
 * boot, its start time, the cgroup), runs the command, and writes how that ended (`exit`: the shell's status). So the agent may
 * die, and another one finds the task or its end.
 * Plain POSIX sh with builtins alone, under 2 MB; `ps` only where there is no /proc. What it relies on:
 * - a signal with a handler is deferred while the command runs and is back at its default in the command (XCU 2.11, 2.12);
 * - `exec` in a subshell never runs a builtin; exit status 125 says that the task was never started;
 * - when the run directory is gone, an agent has given this run up before it began, and nothing may start;
 * - descriptors above 2 are not the task's: systemd gives the agent its listening sockets so that every child inherits them;
 * - when memory runs out the command goes first, long before the shim and the agent; it leaves no core file on the
 *   card, and has as many descriptors as others: the agent raises its own bound to all that there are;
 * - when the command has ended, what it left in its group ends too, as in a container whose first process ends.
 */
export const shimScript = `
run=$1 group=$2; shift 2
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
trap : HUP INT QUIT TERM USR1 USR2
start=- boot=-
if [ -r /proc/sys/kernel/random/boot_id ]; then
  read -r stat </proc/$$/task/$$/stat && start=$(set -- \${stat##*) }; echo "\${20}")
  read -r boot </proc/sys/kernel/random/boot_id
else
  start=$(ps -o lstart= -p $$)
fi
if [ -n "$group" ]; then echo $$ >"$group/cgroup.procs" || exit 125; fi
printf '%s\\n%s\\n%s\\n%s\\n' $$ "$boot" "$start" "$group" >"$run/pid" || exit 125
(
  ${yieldToAgent}
  exec "$@"
)
status=$?
if echo "$status" >"$run/exit"; then kill -KILL 0; fi
trap '' HUP INT QUIT TERM USR1 USR2
kill -TERM 0
exit "$status"
`;

/** The shell that runs it. */
export const shell = '/bin/sh';

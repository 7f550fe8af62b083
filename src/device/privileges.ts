import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';

/** The command that a task is started by, in front of its own, and whose its working directory is. */
export interface Lowered {
  readonly prefix: readonly string[];
  readonly owner?: { readonly uid: number; readonly gid: number };
}

interface User {
  readonly uid: number;
  readonly gid: number;
  readonly name?: string;
}

/** As whom tasks run, and with which rights. */
export interface Privileges {
  /** How a task is started as `user` with no rights of root but `capabilities`; or why it is not. */
  lower(user: string | undefined, capabilities: readonly string[]): Promise<Lowered | { readonly why: string }>;
  readonly warnings: readonly string[];
}

/** Somebody else than root, for the trial. */
const nobody: User = { uid: 65_534, gid: 65_534 };

/** No right of root, and none by a set-user-id program or a file's capabilities (setpriv(1)). */
function withoutRights(capabilities: readonly string[]): string[] {
  const kept = ['-all', ...capabilities.map(name => `+${name.toLowerCase()}`)].join(',');
  return ['--no-new-privs', '--inh-caps', kept, '--ambient-caps', kept, '--bounding-set', kept];
}

/**
 * Finds out what can be taken from tasks: of an agent that is not root nothing can, its tasks are what it is. With `defaultUser` no
 * task is root.
 */
export async function openPrivileges({
  isRoot,
  defaultUser,
}: {
  readonly isRoot: boolean;
  readonly defaultUser?: string | undefined;
}): Promise<Privileges> {
  if (!isRoot) {
    const why = (what: string) => ({ why: `${what}: the agent does not run as root, so its tasks are what it is` });
    return {
      warnings: defaultUser === undefined ? [] : [why(`tasks do not run as ${defaultUser}`).why],
      async lower(user, capabilities) {
        if (user !== undefined) return why(`user: it cannot run as ${user}`);
        return capabilities.length === 0 ? { prefix: [] } : why('capabilities: there are none to give');
      },
    };
  }
  const setpriv = await findSetpriv();
  const missing = 'tasks run with all rights of root: there is no setpriv (of util-linux) on this node that works';
  // systemd, and who runs containers, may have taken from this process what root has elsewhere
  const canChange =
    setpriv !== undefined && (await succeeds(setpriv, [...idsOf(nobody), ...withoutRights([]), '--', 'true']));
  const held = 'tasks run as no other user than root: the agent lacks CAP_SETUID or CAP_SETGID';
  return {
    warnings: setpriv === undefined ? [missing] : canChange ? [] : [held],
    async lower(user = defaultUser, capabilities = []) {
      const owner = user === undefined ? undefined : await findUser(user);
      if (user !== undefined && owner === undefined) return { why: `user: there is no ${user} on this node` };
      if (owner?.uid === 0 && defaultUser !== undefined)
        return { why: 'user: no task is root on this node (--task-user)' };
      if (setpriv === undefined) return owner === undefined ? { prefix: [] } : { why: `user: ${missing}` };
      if (owner !== undefined && !canChange) return { why: `user: ${held}` };
      const prefix = [setpriv, ...(owner ? idsOf(owner) : []), ...withoutRights(capabilities), '--'];
      return { prefix, ...(owner && { owner: { uid: owner.uid, gid: owner.gid } }) };
    },
  };
}

function idsOf({ uid, gid, name }: User): string[] {
  return ['--reuid', `${uid}`, '--regid', `${gid}`, name === undefined ? '--clear-groups' : '--init-groups'];
}

/** The one that works: an older libcap-ng may not know all that this kernel has. */
async function findSetpriv(): Promise<string | undefined> {
  for (const path of ['/usr/bin/setpriv', '/bin/setpriv']) {
    if (await succeeds(path, [...withoutRights([]), '--', 'true'])) return path;
  }
  return undefined;
}

function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return new Promise(resolve => execFile(command, args, { timeout: 10_000 }, error => resolve(error === null)));
}

/** By name, or by number, which needs no name; passwd(5). */
async function findUser(user: string): Promise<User | undefined> {
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n').map(line => line.split(':'));
  const [name, , uid, gid] = lines.find(([name, , uid]) => name === user || uid === user) ?? [];
  if (name !== undefined) return { uid: Number(uid), gid: Number(gid), name };
  return /^\d{1,9}$/.test(user) ? { uid: Number(user), gid: Number(user) } : undefined;
}

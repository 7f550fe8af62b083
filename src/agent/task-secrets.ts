import { join, resolve } from 'node:path';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type MemoryDirectory, openMemoryDirectory } from '../device/memory-directory.ts';
import type { Lowered } from '../device/privileges.ts';
import { sha256Hex } from '../identity/keys.ts';
import { type SealKey, unseal } from '../identity/sealing.ts';
import { sealContext } from '../model/secret.ts';
import type { TaskSpec } from '../model/task.ts';

/** Where a task finds the folder of its secrets that are files. */
export const secretsVariable = 'MESOLITE_SECRETS';

/** Opens the secrets of tasks: on the disk they are sealed, open they are in memory alone. */
export interface TaskSecrets {
  /** The variables of a task, and files of `owner` where it has any; throws UNTRUSTED, naming the secret, for one that does not open. */
  environmentOf(spec: TaskSpec, owner?: Lowered['owner']): Readonly<Record<string, string>>;
  /** The files of all other tasks go. */
  keep(tasks: ReadonlySet<string>): void;
}

/** What tasks find in memory, by what it is. */
export interface TaskMemory {
  readonly secrets: MemoryDirectory;
  readonly identities: MemoryDirectory;
}

/** Undefined, and said why, where there is no place in memory. */
export function openMemory(dataDir: string, log: Log): TaskMemory | undefined {
  const { XDG_RUNTIME_DIR } = process.env;
  const places = [...(XDG_RUNTIME_DIR === undefined ? [] : [XDG_RUNTIME_DIR]), '/run', '/dev/shm'];
  try {
    const name = `mesolite-${sha256Hex(resolve(dataDir)).slice(0, 16)}`;
    return {
      secrets: openMemoryDirectory(places, name),
      identities: openMemoryDirectory(places, `${name}-identities`),
    };
  } catch (error) {
    log.warn('no task with secrets or with identity files can run here', { reason: messageOf(error) });
    return undefined;
  }
}

/** `memory` is absent where the node has none: the master places nothing with secrets there. */
export function makeTaskSecrets(parts: {
  readonly key: SealKey;
  readonly memory: MemoryDirectory | undefined;
}): TaskSecrets {
  const { key, memory } = parts;

  function open(task: string, secret: NonNullable<TaskSpec['secrets']>[number]): Buffer {
    try {
      return unseal(key, secret.sealed, sealContext(task, secret));
    } catch (error) {
      throw new MesoliteError('UNTRUSTED', `secret ${secret.name} cannot be opened: ${messageOf(error)}`);
    }
  }

  return {
    environmentOf({ id, secrets = [] }, owner) {
      const variables: Record<string, string> = {};
      for (const secret of secrets) {
        if (memory === undefined) throw new MesoliteError('CONFLICT', 'this node has no memory for secrets (tmpfs)');
        const value = open(id, secret);
        if (secret.file !== undefined) {
          memory.write(id, secret.file, value, owner);
          variables[secretsVariable] = join(memory.path, id);
        }
        if (secret.env === undefined) continue;
        if (value.includes(0)) {
          throw new MesoliteError(
            'INVALID_INPUT',
            `secret ${secret.name} has a zero byte: give it to the task as a file`,
          );
        }
        variables[secret.env] = value.toString('utf8');
      }
      return variables;
    },
    keep: tasks => memory?.keep(tasks),
  };
}

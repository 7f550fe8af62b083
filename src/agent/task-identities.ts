import { join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import { onAbort } from '../base/signal.ts';
import type { MemoryDirectory } from '../device/memory-directory.ts';
import type { Lowered, Privileges } from '../device/privileges.ts';
import type { TlsIdentity } from '../identity/contexts.ts';
import { sha256Hex } from '../identity/keys.ts';
import type { TrustBundle } from '../identity/verify.ts';
import type { TaskSpec } from '../model/task.ts';

/** Where a task finds the folder with what it shows of itself, as spiffe-helper calls it: `svid.pem`, `svid_key.pem`, `svid_bundle.pem`. */
export const identityVariable = 'MESOLITE_IDENTITY';

type Owner = Lowered['owner'];

/** Certificate, key and roots of tasks that ask for them, as files in memory: tasks of one account and user have one folder, since it is theirs alone. */
export interface TaskIdentities {
  /** Waits, and says so, until the certificate of the task's account is there. */
  ready(spec: TaskSpec, say: (message: string) => void, signal: AbortSignal): Promise<void>;
  environmentOf(spec: TaskSpec, owner: Owner): Readonly<Record<string, string>>;
  /** These tasks are here: what is of others goes. */
  keep(specs: readonly TaskSpec[]): Promise<void>;
  /** Certificates or roots are others: files follow, the three of a folder at once. */
  refresh(): void;
}

/** `memory` is absent where the node has none: the master places no such task there. */
export function makeTaskIdentities(parts: {
  readonly memory: MemoryDirectory | undefined;
  readonly certificates: () => { get(spiffeId: string): TlsIdentity | undefined };
  readonly bundle: () => TrustBundle;
  readonly spiffeIdOf: (spec: TaskSpec) => string;
  readonly lower: Privileges['lower'];
  readonly log: Log;
}): TaskIdentities {
  const { memory, certificates, bundle, spiffeIdOf, lower, log } = parts;
  /** By folder. */
  const shown = new Map<string, { readonly spiffeId: string; readonly owner: Owner }>();
  /** By the user that a job names; of a task that was found running nobody has said who that is. */
  const owners = new Map<string | undefined, Owner>();
  const waiting = new Set<() => void>();
  const gate = new Gate();

  function show(spec: TaskSpec, owner: Owner): string {
    const spiffeId = spiffeIdOf(spec);
    const folder = `${sha256Hex(spiffeId).slice(0, 32)}-${owner?.uid ?? 'own'}`;
    shown.set(folder, { spiffeId, owner });
    return folder;
  }

  function write(folder: string): void {
    const { spiffeId, owner } = shown.get(folder) ?? {};
    const identity = spiffeId === undefined ? undefined : certificates().get(spiffeId);
    if (identity === undefined) return;
    const files = {
      'svid.pem': identity.chainPem,
      'svid_key.pem': identity.keyPem,
      'svid_bundle.pem': bundle().roots.join(''),
    };
    memory?.swap(folder, files, owner);
  }

  function refresh(): void {
    for (const folder of shown.keys()) {
      try {
        write(folder);
      } catch (error) {
        log.error('the identity of tasks could not be written', { ...shown.get(folder), reason: messageOf(error) });
      }
    }
    for (const wake of waiting) wake();
    waiting.clear();
  }

  async function keep(specs: readonly TaskSpec[]): Promise<void> {
    for (const { user } of specs) {
      if (owners.has(user)) continue;
      const as = await lower(user, []);
      owners.set(user, 'why' in as ? undefined : as.owner);
    }
    const wanted = new Set(specs.map(spec => show(spec, owners.get(spec.user))));
    for (const folder of shown.keys()) if (!wanted.has(folder)) shown.delete(folder);
    memory?.keep(wanted);
    refresh();
  }

  return {
    async ready(spec, say, signal) {
      if (spec.identity !== true) return;
      const isThere = () => certificates().get(spiffeIdOf(spec)) !== undefined;
      if (!isThere()) say(`waits for the certificate of service account ${spec.serviceAccount}`);
      while (!isThere()) {
        signal.throwIfAborted();
        let forget = () => {};
        await new Promise<void>(resolve => {
          waiting.add(resolve);
          forget = onAbort(signal, resolve);
        });
        forget();
      }
    },
    environmentOf(spec, owner) {
      if (spec.identity !== true || memory === undefined) return {};
      owners.set(spec.user, owner);
      const folder = show(spec, owner);
      write(folder);
      return { [identityVariable]: join(memory.path, folder) };
    },
    keep: specs => gate.run(() => keep(specs.filter(({ identity }) => identity === true))),
    refresh,
  };
}

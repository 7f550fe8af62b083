import type { Log } from '../base/log.ts';
import type { Lowered, Privileges } from '../device/privileges.ts';
import { deriveSealKey, offerSealKey } from '../identity/sealing.ts';
import { secretsAttribute } from '../model/secret.ts';
import type { TaskSpec } from '../model/task.ts';
import type { Mesh } from './mesh.ts';
import type { NodeIdentity } from './node-identity.ts';
import type { UpBody } from './sender.ts';
import { makeTaskIdentities, type TaskIdentities } from './task-identities.ts';
import { makeTaskSecrets, openMemory } from './task-secrets.ts';
import type { Trust } from './trust.ts';

/** What tasks are given in memory alone: the secrets of their jobs, and their keys where they ask for them. */
export interface TaskCredentials {
  readonly identities: TaskIdentities;
  environmentOf(spec: TaskSpec, owner: Lowered['owner']): Readonly<Record<string, string>>;
  /** These tasks are here: what is of others goes. */
  keep(specs: readonly TaskSpec[]): void;
  /** The board as a birth tells it, and whether it takes secrets. */
  describe<T extends Pick<UpBody<'birth'>, 'attributes'>>(board: T): T & Pick<UpBody<'birth'>, 'sealKey'>;
}

export function openTaskCredentials(
  parts: {
    readonly log: Log;
    readonly trust: Trust;
    readonly mesh: Pick<Mesh, 'certificates' | 'workloads' | 'ownIdentity'>;
    readonly lower: Privileges['lower'];
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
  },
  { dataDir }: { readonly dataDir: string },
  { node, taskSecret }: NodeIdentity,
): TaskCredentials {
  const { log, trust, mesh, lower, inBackground } = parts;
  const key = deriveSealKey(taskSecret);
  const memory = openMemory(dataDir, log);
  const secrets = makeTaskSecrets({ key, memory: memory?.secrets });
  const identities = makeTaskIdentities({
    memory: memory?.identities,
    certificates: () => mesh.certificates,
    bundle: () => trust.current.value.bundle,
    log,
    spiffeIdOf: mesh.workloads.spiffeIdOf,
    lower,
  });
  return {
    identities,
    environmentOf: (spec, owner) => ({
      ...secrets.environmentOf(spec, owner),
      ...identities.environmentOf(spec, owner),
    }),
    keep(specs) {
      secrets.keep(new Set(specs.map(({ id }) => id)));
      inBackground('keeping identities', identities.keep(specs));
    },
    describe(board) {
      if (memory === undefined) return board;
      const attributes = { ...board.attributes, [secretsAttribute]: 'memory' };
      return { ...board, attributes, sealKey: offerSealKey(key, node, mesh.ownIdentity) };
    },
  };
}

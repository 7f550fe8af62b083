import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import { seal } from '../identity/sealing.ts';
import type { Job } from '../model/document.ts';
import {
  type PutSecretResult,
  type SealedSecret,
  type SecretView,
  sealContext,
  secretBounds,
} from '../model/secret.ts';
import type { SecretTable } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import type { Events } from './events.ts';
import type { JobUpdates } from './job-updates.ts';
import type { Jobs } from './jobs.ts';

export interface SecretName {
  readonly namespace: string;
  readonly name: string;
}

/** What operators hand over for tasks: encrypted in the database, and sealed for the one node that runs the task. */
export interface Secrets {
  /** A changed value has the tasks that use it replaced, as a changed job does. Throws QUEUE_FULL. */
  put(name: SecretName, value: Buffer, by: string): Promise<PutSecretResult>;
  list(): Promise<SecretView[]>;
  /** Throws NOT_FOUND, and CONFLICT while a job names it. */
  remove(name: SecretName, by: string): Promise<void>;
  /** For a task of `job` on the node with that public key. */
  sealFor(job: Job, task: string, publicKey: string): Promise<SealedSecret[]>;
}

const ivBytes = 12;
const tagBytes = 16;

export function makeSecrets(
  parts: {
    readonly store: Pick<Store, 'secrets'>;
    readonly jobs: Pick<Jobs, 'list'>;
    readonly updates: Pick<JobUpdates, 'renew'>;
    readonly events: Pick<Events, 'record'>;
    readonly clock: Clock;
    /** Jobs have changed. */
    readonly onJobs: () => void;
  },
  dataKey: string,
): Secrets {
  const { store, jobs, updates, events, clock, onJobs } = parts;
  const key = Buffer.from(hkdfSync('sha256', dataKey, '', 'mesolite/v1/secrets', 32));
  const gate = new Gate(64);

  function encrypt(row: Omit<SecretTable, 'sealed'>, value: Buffer): SecretTable {
    const iv = randomBytes(ivBytes);
    const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(contextOf(row));
    const sealed = Buffer.concat([iv, cipher.update(value), cipher.final(), cipher.getAuthTag()]).toString('base64');
    return { ...row, sealed };
  }

  function decrypt(row: SecretTable): Buffer {
    const bytes = Buffer.from(row.sealed, 'base64');
    try {
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, ivBytes), { authTagLength: tagBytes });
      decipher.setAAD(contextOf(row)).setAuthTag(bytes.subarray(-tagBytes));
      return Buffer.concat([decipher.update(bytes.subarray(ivBytes, -tagBytes)), decipher.final()]);
    } catch {
      const what = `secret ${row.namespace}/${row.name} does not open with the key in authority-key: put it again`;
      throw new MesoliteError('CONFLICT', what);
    }
  }

  function isSame(row: SecretTable, value: Buffer): boolean {
    try {
      return decrypt(row).equals(value);
    } catch {
      return false;
    }
  }

  async function usersOf({ namespace, name }: SecretName): Promise<Job[]> {
    return (await jobs.list()).filter(
      job => job.metadata.namespace === namespace && job.spec.secrets?.some(secret => secret.name === name),
    );
  }

  async function put({ namespace, name }: SecretName, value: Buffer, by: string): Promise<PutSecretResult> {
    const before = await store.secrets.get(namespace, name);
    if (before !== undefined && isSame(before, value)) return { version: before.version, result: 'unchanged' };
    if (before === undefined && (await store.secrets.list()).length >= secretBounds.stored) {
      throw new MesoliteError('QUEUE_FULL', `there are ${secretBounds.stored} secrets, no more are kept`);
    }
    const version = (before?.version ?? 0) + 1;
    await store.secrets.put(encrypt({ namespace, name, version, updatedAt: clock.now() }, value));
    events.record('secret-changed', { message: `${by} put secret ${namespace}/${name}, version ${version}` });
    const users = await usersOf({ namespace, name });
    for (const job of users) await updates.renew(job.metadata);
    if (users.length > 0) onJobs();
    return { version, result: before === undefined ? 'created' : 'changed' };
  }

  async function remove({ namespace, name }: SecretName, by: string): Promise<void> {
    const [user] = await usersOf({ namespace, name });
    if (user !== undefined) {
      throw new MesoliteError('CONFLICT', `job ${namespace}/${user.metadata.name} uses secret ${namespace}/${name}`);
    }
    if (!(await store.secrets.remove(namespace, name))) throw noSecret({ namespace, name });
    events.record('secret-changed', { message: `${by} deleted secret ${namespace}/${name}` });
  }

  return {
    put: (name, value, by) => gate.run(() => put(name, value, by)),
    remove: (name, by) => gate.run(() => remove(name, by)),
    async list() {
      const all = await jobs.list();
      return (await store.secrets.list()).map(({ sealed: _, ...row }) => ({
        ...row,
        usedBy: all
          .filter(
            ({ metadata, spec }) =>
              metadata.namespace === row.namespace && spec.secrets?.some(s => s.name === row.name),
          )
          .map(({ metadata }) => metadata.name),
      }));
    },
    async sealFor({ metadata: { namespace }, spec }, task, publicKey) {
      const all = (spec.secrets ?? []).map(async ({ name, env, file }): Promise<SealedSecret> => {
        const row = await store.secrets.get(namespace, name);
        if (row === undefined) throw noSecret({ namespace, name });
        const { version } = row;
        const sealed = seal(publicKey, decrypt(row), sealContext(task, { name, version }));
        return { name, version, ...(env && { env }), ...(file && { file }), sealed };
      });
      return Promise.all(all);
    },
  };
}

/** Throws INVALID_INPUT for a job that names a secret which its namespace does not have. */
export function checkSecrets({ metadata, spec }: Job, versions: ReadonlyMap<string, number>): void {
  const { namespace, name } = metadata;
  for (const [i, secret] of (spec.secrets ?? []).entries()) {
    if (versions.has(secret.name)) continue;
    const first = `put it first with \`mesolite secret put ${secret.name} -n ${namespace}\``;
    throw new MesoliteError(
      'INVALID_INPUT',
      `job ${namespace}/${name}: spec.secrets[${i}].name: there is no secret ${namespace}/${secret.name}: ${first}`,
    );
  }
}

function contextOf({ namespace, name, version }: Pick<SecretTable, 'namespace' | 'name' | 'version'>): Buffer {
  return Buffer.from(`${namespace}\n${name}\n${version}`);
}

function noSecret({ namespace, name }: SecretName): MesoliteError {
  return new MesoliteError('NOT_FOUND', `there is no secret ${namespace}/${name}`);
}

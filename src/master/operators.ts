import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { apiTokenMatches, hashApiToken, makeApiToken } from '../identity/token.ts';
import type { CreateCredentialRequest, CreateCredentialResult, CredentialView } from '../model/api.ts';
import type { OperatorTokens } from '../store/operator-tokens.ts';
import type { Operator } from './api/face.ts';
import { anonymous } from './mesos/anonymous.ts';

/** Who may use the API. Tokens are stored as hashes; the first one is written to a file that only its owner can read. */
export interface Operators {
  /** Makes the first admin's token where there is none. */
  ensureAdmin(dataDir: string): Promise<void>;
  authenticate(token: string): Promise<Operator | undefined>;
  /** Lets a framework in as `name`, with the secret that is returned; throws CONFLICT when the name is taken. */
  addFramework(credential: CreateCredentialRequest): Promise<CreateCredentialResult>;
  /** Those of frameworks. */
  frameworkCredentials(): Promise<CredentialView[]>;
  /** Throws NOT_FOUND. */
  removeFramework(name: string): Promise<void>;
}

/** Credentials of frameworks. */
export const maxCredentials = 1_000;

export const adminTokenFile = 'operator.token';

export function makeOperators(parts: {
  readonly tokens: OperatorTokens;
  readonly clock: Clock;
  readonly log: Log;
}): Operators {
  const { tokens, clock, log } = parts;
  return {
    async ensureAdmin(dataDir) {
      if ((await tokens.list()).length > 0) return;
      const token = makeApiToken();
      const path = join(dataDir, adminTokenFile);
      // the file first: a hash without its token would lock everybody out
      await rm(path, { force: true });
      await writeFile(path, `${token}\n`, { mode: 0o600, flag: 'wx', flush: true });
      await tokens.add({ name: 'admin', hash: hashApiToken(token), role: 'admin', createdAt: clock.now() });
      log.info('an operator token was made', { file: path });
    },
    async authenticate(token) {
      const found = await tokens.findByHash(hashApiToken(token));
      if (found === undefined || !apiTokenMatches(token, found.hash)) return undefined;
      const { name, role, roles } = found;
      return { name, role, roles };
    },
    async addFramework({ name, roles }) {
      const present = await tokens.list();
      if (present.length >= maxCredentials) {
        throw new MesoliteError(
          'QUEUE_FULL',
          `there are ${present.length} credentials, at most ${maxCredentials} are kept`,
        );
      }
      // not a name that stands for something else
      if (name === anonymous || present.some(each => each.name === name)) {
        throw new MesoliteError('CONFLICT', `the name ${name} is taken`);
      }
      const secret = makeApiToken();
      await tokens.add({ name, hash: hashApiToken(secret), role: 'framework', createdAt: clock.now(), roles });
      return { name, secret };
    },
    async frameworkCredentials() {
      const present = (await tokens.list()).filter(({ role }) => role === 'framework');
      return present.map(({ name, roles, createdAt }) => ({
        name,
        roles: roles === undefined ? null : [...roles],
        createdAt,
      }));
    },
    async removeFramework(name) {
      const found = (await tokens.list()).find(each => each.name === name && each.role === 'framework');
      if (found === undefined) throw new MesoliteError('NOT_FOUND', `there is no credential ${name}`);
      await tokens.remove(name);
    },
  };
}

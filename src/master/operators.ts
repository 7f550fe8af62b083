import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { apiTokenMatches, hashApiToken, makeApiToken } from '../identity/token.ts';
import type { OperatorTokens } from '../store/operator-tokens.ts';
import type { Operator } from './api/face.ts';

/** Who may use the API. Tokens are stored as hashes; the first one is written to a file that only its owner can read. */
export interface Operators {
  /** Makes the first admin's token where there is none. */
  ensureAdmin(dataDir: string): Promise<void>;
  authenticate(token: string): Promise<Operator | undefined>;
}

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
      return found && apiTokenMatches(token, found.hash) ? { name: found.name, role: found.role } : undefined;
    },
  };
}

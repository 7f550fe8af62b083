import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { printJoinString } from '../identity/join-string.ts';
import { deriveJoinKey, makeJoinToken } from '../identity/token.ts';
import type { CreateTokenRequest, CreateTokenResult, JoinTokenView } from '../model/api.ts';
import type { JoinToken, JoinTokens } from '../store/join-tokens.ts';

/** What operators do with join tokens. */
export interface TokenDesk {
  /** The string is shown once, what is stored is a key derived from it. */
  create(request: CreateTokenRequest): Promise<CreateTokenResult>;
  list(): Promise<JoinTokenView[]>;
  /** Nobody joins with it any more, those who wait neither; who has joined stays. Throws NOT_FOUND. */
  revoke(id: string): Promise<void>;
}

export function makeTokenDesk(
  parts: { readonly tokens: JoinTokens; readonly rootSha256: () => string; readonly clock: Clock },
  /** Where the broker is to be found; the ports are known when it listens. */
  broker: () => { readonly hosts: readonly string[]; readonly port: number; readonly wssPort?: number | undefined },
): TokenDesk {
  const { tokens, rootSha256, clock } = parts;
  return {
    async create({ ttlMs, node = null, profile = null, ...request }) {
      const token = makeJoinToken();
      const createdAt = clock.now();
      const expiresAt = createdAt + ttlMs;
      const key = deriveJoinKey(token.secret).toString('base64url');
      await tokens.add({ id: token.id, key, expiresAt, node, profile, createdAt, ...request });
      const { hosts, port, wssPort } = broker();
      const addresses = hosts.slice(0, 8).map(host => ({ host, port }));
      const join = printJoinString({
        ...token,
        addresses,
        rootSha256: rootSha256(),
        ...(wssPort !== undefined && { wssPort }),
      });
      return { id: token.id, join, expiresAt };
    },
    list: async () => (await tokens.list()).map(token => view(token, clock.now())),
    async revoke(id) {
      if (!(await tokens.remove(id))) throw new MesoliteError('NOT_FOUND', `there is no join token ${id}`);
    },
  };
}

function view({ key: _, ...token }: JoinToken, now: number): JoinTokenView {
  const state = token.expiresAt <= now ? 'expired' : token.used >= token.uses ? 'used' : 'valid';
  return { ...token, state };
}

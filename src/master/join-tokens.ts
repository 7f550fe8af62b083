import type { Clock } from '../base/clock.ts';
import type { Authority } from '../identity/authority.ts';
import { printJoinString } from '../identity/join-string.ts';
import { deriveJoinKey, makeJoinToken } from '../identity/token.ts';
import type { CreateTokenRequest, CreateTokenResult } from '../model/api.ts';
import type { JoinTokens } from '../store/join-tokens.ts';

/** Makes join tokens: the string is shown once, what is stored is a key derived from it. */
export async function createJoinToken(
  parts: { readonly tokens: JoinTokens; readonly authority: Authority; readonly clock: Clock },
  request: CreateTokenRequest,
  broker: { readonly hosts: readonly string[]; readonly port: number; readonly wssPort?: number | undefined },
): Promise<CreateTokenResult> {
  const { tokens, authority, clock } = parts;
  const token = makeJoinToken();
  const createdAt = clock.now();
  const expiresAt = createdAt + request.ttlMs;
  const { uses, node = null, labels } = request;
  const key = deriveJoinKey(token.secret).toString('base64url');
  await tokens.add({ id: token.id, key, uses, expiresAt, node, labels, createdAt });
  const addresses = broker.hosts.slice(0, 8).map(host => ({ host, port: broker.port }));
  const { wssPort } = broker;
  const where = { addresses, ...(wssPort !== undefined && { wssPort }) };
  return { id: token.id, join: printJoinString({ ...token, ...where, rootSha256: authority.rootSha256 }), expiresAt };
}

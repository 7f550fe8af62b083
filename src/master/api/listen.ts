import type { FastifyInstance } from 'fastify';
import { MesoliteError, messageOf } from '../../base/errors.ts';
import type { MasterConfig } from '../config.ts';
import type { Api } from './api.ts';

/** The port that was had; throws START_FAILED with what to do about it. */
export async function listen(
  api: Api | FastifyInstance,
  { host, apiPort: port }: Pick<MasterConfig, 'host' | 'apiPort'>,
): Promise<number> {
  try {
    await api.listen({ host, port });
  } catch (cause) {
    const inUse = typeof cause === 'object' && cause !== null && 'code' in cause && cause.code === 'EADDRINUSE';
    const reason = inUse
      ? 'is in use: stop the program that listens there, or set another one for the API'
      : messageOf(cause);
    throw new MesoliteError('START_FAILED', `port ${port} on ${host} ${reason}`, { cause });
  }
  return portOf(api) ?? port;
}

/** Undefined while it does not listen. */
export function portOf(api: Api | FastifyInstance): number | undefined {
  const address = api.server.address();
  return typeof address === 'object' && address !== null ? address.port : undefined;
}

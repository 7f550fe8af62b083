import type { FastifyRequest } from 'fastify';
import { MesoliteError } from '../../base/errors.ts';

/** Who asks, for what is kept of it. */
export function nameOf({ operator }: FastifyRequest): string {
  if (operator === null) throw new MesoliteError('INTERNAL', 'a change by nobody');
  return operator.name;
}

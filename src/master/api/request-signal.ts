import type { FastifyReply } from 'fastify';

/** A signal that aborts when the caller has gone away before the answer was sent. */
export function signalOf(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => controller.abort());
  return controller.signal;
}

import type { FastifyReply } from 'fastify';

/** Mesos says in plain text what is wrong. */
export function refuse(reply: FastifyReply, status: number, text: string): FastifyReply {
  return reply.code(status).type('text/plain; charset=utf-8').send(`${text}\n`);
}

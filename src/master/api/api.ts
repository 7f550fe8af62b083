import type { Server } from 'node:https';
import type { FastifyInstance } from 'fastify';

/** Fastify on HTTPS. */
export type Api = FastifyInstance<Server>;

import type { FastifyInstance } from 'fastify';
import { answerOf } from '../api/errors.ts';
import type { Mesos } from './mesos.ts';
import { addOperatorRoutes } from './operator-routes.ts';
import { refuse } from './refuse.ts';
import { addSchedulerRoute } from './scheduler-routes.ts';

/** The paths of Mesos: bodies come as they are, and refusals are plain text. */
export function addMesosRoutes(app: FastifyInstance, mesos: Mesos): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, async (_: unknown, body: Buffer) => body);
  app.setErrorHandler(async (error, _request, reply) => {
    const { status, body } = answerOf(error);
    if (status === 401) reply.header('www-authenticate', 'Basic realm="mesolite", Bearer realm="mesolite"');
    return refuse(reply, status, body.error.message);
  });
  addSchedulerRoute(app, mesos);
  addOperatorRoutes(app, mesos);
}

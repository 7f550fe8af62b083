import Fastify, { type FastifyInstance } from 'fastify';
import { MesoliteError } from '../../base/errors.ts';
import { authorize } from '../api/authorize.ts';
import type { ApiFace } from '../api/face.ts';
import { anonymous } from './anonymous.ts';
import { mesosBounds } from './bounds.ts';
import type { Mesos } from './mesos.ts';
import { refuse } from './refuse.ts';
import { addMesosRoutes } from './routes.ts';

const bounds = { connections: 256, requestTimeoutMs: 30_000, keepAliveTimeoutMs: 30_000 } as const;

/**
 * The paths of Mesos over plain HTTP, for clients on this machine that speak no TLS. With `isOpen` also for those who show no
 * credentials: whoever has an account here may then read, and run tasks on the fleet.
 */
export async function makePlainApi(
  parts: { readonly face: Pick<ApiFace, 'authenticate'>; readonly mesos: Mesos },
  { isOpen }: { readonly isOpen: boolean },
): Promise<FastifyInstance> {
  const { face, mesos } = parts;
  const app = Fastify({
    bodyLimit: mesosBounds.callBytes,
    requestTimeout: bounds.requestTimeoutMs,
    keepAliveTimeout: bounds.keepAliveTimeoutMs,
    forceCloseConnections: true,
    logger: false,
  });
  app.server.maxConnections = bounds.connections;
  app.decorateRequest('operator', null);
  app.addHook('onRequest', async request => {
    // a page in a browser that a name was bound to this address for
    if (!/^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(request.headers.host ?? '')) {
      throw new MesoliteError('FORBIDDEN', 'expected "host" to be localhost, 127.0.0.1 or [::1]');
    }
    const { access } = request.routeOptions.config;
    if (isOpen && request.headers.authorization === undefined && (access === 'reader' || access === 'framework')) {
      request.operator = { name: anonymous, role: access };
      return;
    }
    await authorize(face, request);
  });
  app.setNotFoundHandler(async (_, reply) => refuse(reply, 404, 'There is nothing here but the paths of Mesos'));
  app.get('/health', { config: { access: 'public' } }, (_, reply) => reply.send());
  addMesosRoutes(app, mesos);
  await app.ready();
  return app;
}

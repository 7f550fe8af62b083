import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { TlsOptions } from 'node:tls';
import swagger from '@fastify/swagger';
import { toJsonSchema } from '@valibot/to-json-schema';
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import type * as v from 'valibot';
import { isMesoliteError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { decode } from '../../base/shape.ts';
import { maxYamlBytes, parseYaml } from '../../model/yaml-text.ts';
import type { Mesos } from '../mesos/mesos.ts';
import { addMesosRoutes } from '../mesos/routes.ts';
import type { Api } from './api.ts';
import { addArtifactRoutes } from './artifact-routes.ts';
import { authorize } from './authorize.ts';
import { answerOf } from './errors.ts';
import type { ApiFace } from './face.ts';
import { addInstallRoutes } from './install-routes.ts';
import { addRoutes } from './routes.ts';

export const apiBounds = {
  bodyBytes: 4 * 1024 * 1024,
  requestTimeoutMs: 30_000,
  keepAliveTimeoutMs: 30_000,
  handshakeTimeoutMs: 10_000,
  connections: 256,
  /** Of those, for one address: a stranger does not keep operators out who call from another. */
  connectionsOfAddress: 128,
  /** Open connections that were upgraded, on top of those: how many of them are taken is for whoever takes them. */
  upgraded: 10_000,
} as const;

/** The HTTPS API: schemas from `model/api.ts`, bearer tokens, one error shape, and its own OpenAPI document. */
export async function makeApi(
  parts: {
    readonly face: ApiFace;
    readonly log: Log;
    /** When absent, the paths of Mesos are not there. */
    readonly mesos?: Mesos | undefined;
    /** When absent, no machine can be installed from here. */
    readonly install?: Parameters<typeof addInstallRoutes>[1] | undefined;
    /** Takes connections that are to be something else than HTTP; when absent there are none. */
    readonly upgrade?: ((request: IncomingMessage, socket: Duplex, head: Buffer) => void) | undefined;
  },
  tls: TlsOptions,
): Promise<Api> {
  const { face, log, mesos, install, upgrade } = parts;
  const app: Api = Fastify({
    https: { ...tls, handshakeTimeout: apiBounds.handshakeTimeoutMs },
    bodyLimit: apiBounds.bodyBytes,
    // its bound holds for each request by itself, below: an artifact takes longer
    requestTimeout: 0,
    keepAliveTimeout: apiBounds.keepAliveTimeoutMs,
    forceCloseConnections: true,
    logger: false,
    // as long as a task id may be; the default is 100
    routerOptions: { maxParamLength: 255 },
  });
  boundConnections(app.server, upgrade);
  app.server.headersTimeout = apiBounds.requestTimeoutMs;

  app.setValidatorCompiler<v.GenericSchema>(({ schema, httpPart }) => data => {
    try {
      return { value: decode(schema, data, httpPart === 'body' ? 'body' : (httpPart ?? 'request')) };
    } catch (error) {
      return { error: error instanceof Error ? error : new Error(String(error)) };
    }
  });
  app.setSerializerCompiler(() => data => JSON.stringify(data));
  app.addContentTypeParser(
    ['application/yaml', 'text/yaml'],
    { parseAs: 'string', bodyLimit: maxYamlBytes },
    async (_: unknown, body: string) => ({ documents: parseYaml(body, 'body').map(({ value }) => value) }),
  );
  app.setErrorHandler(async (error, request, reply) => {
    const answer = answerOf(error);
    if (answer.status >= 500 && !isMesoliteError(error)) {
      log.error('an API call failed', { method: request.method, path: request.routeOptions.url, error });
    }
    return reply.code(answer.status).send(answer.body);
  });
  app.setNotFoundHandler(async (request, reply) => {
    const message = `no such path: ${request.method} ${request.url.split('?')[0]?.slice(0, 200)}; see /openapi.json`;
    return reply.code(404).send({ error: { code: 'NOT_FOUND', message } });
  });

  await app.register(swagger, {
    openapi: {
      info: { title: 'Mesolite', version: face.version, description: 'The HTTP API of a Mesolite master' },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    transform: ({ schema, url }) => ({ schema: describe(schema ?? {}), url }),
  });
  app.decorateRequest('operator', null);
  app.decorateRequest('node', null);
  app.addHook('onRequest', async (request, reply) => {
    boundTime(request, reply);
    await authorize(face, request);
  });
  addRoutes(app, face);
  await app.register(async scope => addArtifactRoutes(scope, face.artifacts));
  if (install !== undefined) addInstallRoutes(app, install);
  if (mesos !== undefined) await app.register(async scope => addMesosRoutes(scope, mesos));
  await app.ready();
  return app;
}

/** A request that does not come to its end is not waited for. */
function boundTime({ raw, routeOptions }: FastifyRequest, reply: FastifyReply): void {
  if (routeOptions.config.isLong === true) return;
  const timer = setTimeout(() => raw.complete || raw.destroy(), apiBounds.requestTimeoutMs);
  reply.raw.once('close', () => clearTimeout(timer));
}

/** Callers have a bound of their own, so that a fleet on upgraded connections does not keep them out. */
function boundConnections(server: Api['server'], upgrade: Parameters<typeof makeApi>[0]['upgrade']): void {
  server.maxConnections = apiBounds.connections + apiBounds.upgraded;
  const callers = new Map<Duplex, string>();
  const countOf = new Map<string, number>();
  const leave = (socket: Duplex): void => {
    const address = callers.get(socket);
    if (address === undefined) return;
    callers.delete(socket);
    const left = (countOf.get(address) ?? 1) - 1;
    if (left === 0) countOf.delete(address);
    else countOf.set(address, left);
  };
  server.on('secureConnection', socket => {
    const address = socket.remoteAddress ?? '';
    const count = countOf.get(address) ?? 0;
    const isFull = callers.size >= apiBounds.connections || count >= apiBounds.connectionsOfAddress;
    if (isFull || socket.destroyed) return void socket.destroy();
    callers.set(socket, address);
    countOf.set(address, count + 1);
    socket.once('close', () => leave(socket));
  });
  if (upgrade === undefined) return;
  server.on('upgrade', (request, socket, head) => {
    leave(socket);
    upgrade(request, socket, head);
  });
}

/** Fastify's route schema with each valibot schema as JSON Schema. */
function describe(schema: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => {
      if (key === 'response' && typeof value === 'object' && value !== null) return [key, describe(value)];
      return [key, isValibotSchema(value) ? jsonSchemaOf(value) : value];
    }),
  );
}

function isValibotSchema(value: unknown): value is v.GenericSchema {
  return typeof value === 'object' && value !== null && '~standard' in value;
}

function jsonSchemaOf(schema: v.GenericSchema): unknown {
  const { $schema: _, ...rest } = toJsonSchema(schema, { typeMode: 'input', errorMode: 'ignore' });
  return rest;
}

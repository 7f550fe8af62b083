import { createReadStream } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply } from 'fastify';
import * as v from 'valibot';
import { MesoliteError } from '../../base/errors.ts';
import { removeResultSchema } from '../../model/api.ts';
import { artifactListSchema, artifactViewSchema, sha256Schema } from '../../model/artifact.ts';
import type { Artifacts } from '../artifacts.ts';
import { admin, answers, reader } from './route-schema.ts';
import { Transfers } from './transfers.ts';

const path = v.object({ sha256: sha256Schema });

export const artifactApiBounds = {
  /** So many are sent to nodes at once; the rest comes back. */
  sent: 64,
  /** Of a transfer, without a byte. */
  idleMs: 30_000,
} as const;

/** What is pushed by operators and fetched by nodes. A scope of its own: only here a body is a stream. */
export function addArtifactRoutes(scope: FastifyInstance, artifacts: Artifacts): void {
  const transfers = new Transfers({ all: artifactApiBounds.sent, ofAddress: artifactApiBounds.sent });
  scope.addContentTypeParser(['application/gzip', 'application/octet-stream'], (_request, body, done) =>
    done(null, body),
  );

  scope.post<{ Body: Readable }>(
    '/v1/artifacts',
    {
      config: { ...admin.config, isLong: true },
      schema: {
        ...answers('Push an artifact: its bytes are the body', artifactViewSchema, {}),
        consumes: ['application/gzip', 'application/octet-stream'],
      },
    },
    async (request, reply) => {
      // what is left of a body that is refused is not read
      reply.header('connection', 'close');
      request.raw.setTimeout(artifactApiBounds.idleMs, () => request.raw.destroy());
      // the disk may take its time
      request.raw.once('end', () => request.raw.setTimeout(0));
      if (typeof request.body?.pipe !== 'function') {
        throw new MesoliteError('INVALID_INPUT', 'expected the bytes as application/gzip or application/octet-stream');
      }
      return artifacts.push(request.body);
    },
  );
  scope.get(
    '/v1/artifacts',
    { ...reader, schema: answers('Artifacts that were pushed', artifactListSchema, {}) },
    async () => ({
      artifacts: await artifacts.list(),
    }),
  );
  scope.delete<{ Params: v.InferOutput<typeof path> }>(
    '/v1/artifacts/:sha256',
    { ...admin, schema: answers('Remove one that no job names', removeResultSchema, { params: path }) },
    async request => {
      await artifacts.remove(request.params.sha256);
      return { removed: true };
    },
  );
  scope.get<{ Params: v.InferOutput<typeof path> }>(
    '/v1/artifacts/:sha256/content',
    { config: { access: 'node' }, schema: { summary: 'Its bytes, for nodes with a task that needs it', params: path } },
    async (request, reply) => {
      const { sha256 } = request.params;
      transfers.begin(request.raw, reply.raw);
      const { path: file, bytes } = await artifacts.open(sha256, request.node ?? '');
      return send(reply, request.headers, { file, bytes, etag: `"${sha256}"` });
    },
  );
}

/** RFC 9110 14: one range that begins somewhere and goes to the end is all that a node asks for. */
function send(
  reply: FastifyReply,
  headers: IncomingHttpHeaders,
  { file, bytes, etag }: { readonly file: string; readonly bytes: number; readonly etag: string },
): FastifyReply {
  const isSame = headers['if-range'] === undefined || headers['if-range'] === etag;
  const asked = isSame ? /^bytes=(\d{1,15})-$/.exec(headers.range ?? '')?.[1] : undefined;
  const start = Number(asked ?? 0);
  reply.raw.setTimeout(artifactApiBounds.idleMs, () => reply.raw.destroy());
  reply.headers({ etag, 'accept-ranges': 'bytes', 'content-type': 'application/octet-stream' });
  if (asked !== undefined && start >= bytes) {
    return reply.code(416).header('content-range', `bytes */${bytes}`).send();
  }
  if (asked !== undefined) reply.code(206).header('content-range', `bytes ${start}-${bytes - 1}/${bytes}`);
  return reply.header('content-length', bytes - start).send(createReadStream(file, { start }));
}

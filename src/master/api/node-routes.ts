import * as v from 'valibot';
import { aheadSchema } from '../../model/ahead.ts';
import { drainAnswerSchema, drainRequestSchema, nodeListSchema, removeResultSchema } from '../../model/api.ts';
import { nameSchema } from '../../model/ids.ts';
import type { Api } from './api.ts';
import type { ApiFace } from './face.ts';
import { nameOf } from './operator-name.ts';
import { admin, answers, reader } from './route-schema.ts';

const nodePath = v.object({ node: nameSchema });
const removeQuery = v.strictObject({ force: v.optional(v.picklist(['true', 'false']), 'false') });

export function addNodeRoutes(app: Api, face: ApiFace): void {
  app.get('/v1/nodes', { ...reader, schema: answers('Nodes and what they have', nodeListSchema, {}) }, async () => ({
    nodes: await face.nodes(),
  }));
  app.delete<{ Params: v.InferOutput<typeof nodePath>; Querystring: v.InferOutput<typeof removeQuery> }>(
    '/v1/nodes/:node',
    {
      ...admin,
      schema: answers('Delete a node that does not come back', removeResultSchema, {
        params: nodePath,
        querystring: removeQuery,
      }),
    },
    request =>
      face.removeNode(request.params.node, { force: request.query.force === 'true', operator: nameOf(request) }),
  );
  app.post<{ Params: v.InferOutput<typeof nodePath>; Body: v.InferOutput<typeof drainRequestSchema> }>(
    '/v1/nodes/:node/drain',
    {
      ...admin,
      schema: answers('Give a node no tasks, and have those that it has leave', drainAnswerSchema, {
        params: nodePath,
        body: drainRequestSchema,
      }),
    },
    request => face.drain(request.params.node, request.body),
  );
  app.delete<{ Params: v.InferOutput<typeof nodePath> }>(
    '/v1/nodes/:node/drain',
    { ...admin, schema: answers('Let a node take tasks again', drainAnswerSchema, { params: nodePath }) },
    request => face.undrain(request.params.node),
  );
  app.post<{ Params: v.InferOutput<typeof nodePath> }>(
    '/v1/nodes/:node/takeover',
    {
      ...admin,
      schema: answers('Have the database hold over what a node was given by another', aheadSchema, {
        params: nodePath,
      }),
    },
    request => face.takeOver(request.params.node, nameOf(request)),
  );
}

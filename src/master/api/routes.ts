import * as v from 'valibot';
import {
  applyRequestSchema,
  applyResultSchema,
  auditListSchema,
  createTokenRequestSchema,
  createTokenResultSchema,
  denyRequestSchema,
  documentListSchema,
  eventListSchema,
  jobListSchema,
  joinDecisionSchema,
  joinListSchema,
  joinTokenListSchema,
  meshSchema,
  planSchema,
  policyListSchema,
  removeResultSchema,
  serviceListSchema,
  taskDetailSchema,
  taskExplanationSchema,
  taskListSchema,
  versionSchema,
} from '../../model/api.ts';
import { auditChainPageSchema } from '../../model/audit-item.ts';
import { eventKinds } from '../../model/event.ts';
import { nameSchema, taskIdSchema } from '../../model/ids.ts';
import type { Api } from './api.ts';
import { addAuthorityRoutes } from './authority-routes.ts';
import { openEventSource } from './event-source.ts';
import type { ApiFace } from './face.ts';
import { addFrameworkRoutes } from './framework-routes.ts';
import { addLogRoutes } from './log-routes.ts';
import { addNodeRoutes } from './node-routes.ts';
import { nameOf } from './operator-name.ts';
import { signalOf } from './request-signal.ts';
import { addRolloutRoutes } from './rollout-routes.ts';
import { admin, answers, open, reader } from './route-schema.ts';
import { addSecretRoutes } from './secret-routes.ts';
import { wholeText } from './whole-text.ts';

const word = v.pipe(v.string(), v.maxLength(2048));

const documentPath = v.object({ kind: word, namespace: nameSchema, name: nameSchema });
const kindQuery = v.strictObject({ kind: v.optional(word) });
const idPath = v.object({ id: v.pipe(v.string(), v.maxLength(64)) });
const taskPath = v.object({ id: taskIdSchema });
const taskQuery = v.strictObject({ job: v.optional(nameSchema), namespace: v.optional(nameSchema) });
const pageSize = v.optional(v.pipe(wholeText, v.minValue(1), v.maxValue(1000, 'expected at most 1000')), '100');
const workload = v.pipe(word, v.regex(/^[a-z0-9-]{1,63}\/[a-z0-9-]{1,63}$/, 'expected <namespace>/<job>'));
const auditQuery = v.strictObject({
  since: v.optional(wholeText),
  until: v.optional(wholeText),
  node: v.optional(nameSchema),
  principal: v.optional(word),
  workload: v.optional(workload),
  verdict: v.optional(v.picklist(['allow', 'deny'])),
  limit: pageSize,
  after: v.optional(v.pipe(word, v.regex(/^\d{1,15}(\.\d{1,9})?_\d{1,15}$/, 'expected `next` of a page before'))),
});
const auditChainQuery = v.strictObject({
  node: v.optional(nameSchema),
  since: v.optional(wholeText),
  until: v.optional(wholeText),
  after: v.optional(wholeText),
  limit: pageSize,
});

const eventQuery = v.strictObject({
  since: v.optional(wholeText),
  node: v.optional(nameSchema),
  kind: v.optional(v.picklist(eventKinds)),
  limit: v.optional(v.pipe(wholeText, v.minValue(1), v.maxValue(10_000, 'expected at most 10000')), '200'),
});

/** Every path of the API. */
export function addRoutes(app: Api, face: ApiFace): void {
  addPublicRoutes(app, face);
  addMetricsRoute(app, face);
  addDocumentRoutes(app, face);
  addTaskRoutes(app, face);
  addLogRoutes(app, face);
  addNodeRoutes(app, face);
  addFleetRoutes(app, face);
  addAuthorityRoutes(app, face);
  addRolloutRoutes(app, face);
  addFrameworkRoutes(app, face);
  addJoinRoutes(app, face);
  addSecretRoutes(app, face);
}

function addPublicRoutes(app: Api, face: ApiFace): void {
  app.get(
    '/health',
    { ...open, schema: answers('Is the master up?', v.object({ status: v.string() }), {}) },
    async () => ({
      status: 'ok',
    }),
  );
  app.get('/v1/version', { ...open, schema: answers('The version of the master', versionSchema, {}) }, async () => ({
    version: face.version,
  }));
  app.get('/openapi.json', { ...open, schema: { hide: true } }, async () => app.swagger());
}

function addMetricsRoute(app: Api, face: ApiFace): void {
  app.get('/metrics', { ...reader, schema: { summary: 'Metrics for Prometheus' } }, async (_, reply) => {
    const { contentType, text } = await face.metrics();
    return reply.type(contentType).send(text);
  });
}

function addDocumentRoutes(app: Api, face: ApiFace): void {
  app.post<{ Body: v.InferOutput<typeof applyRequestSchema> }>(
    '/v1/documents',
    {
      ...admin,
      schema: answers('Store documents, all or none; YAML is taken too', applyResultSchema, {
        body: applyRequestSchema,
      }),
    },
    request => {
      const { documents, rollout, atOnce } = request.body;
      return face.apply(documents, { rollout, atOnce, by: nameOf(request) });
    },
  );
  app.get<{ Querystring: v.InferOutput<typeof kindQuery> }>(
    '/v1/documents',
    { ...reader, schema: answers('Documents as they were sent', documentListSchema, { querystring: kindQuery }) },
    async request => ({ documents: await face.documents(request.query.kind) }),
  );
  app.delete<{ Params: v.InferOutput<typeof documentPath> }>(
    '/v1/documents/:kind/:namespace/:name',
    {
      ...admin,
      schema: answers('Remove a document and what came of it', removeResultSchema, {
        params: documentPath,
      }),
    },
    async request => {
      const rollout = await face.remove(request.params, { by: nameOf(request) });
      return { removed: true, ...(rollout !== undefined && { rollout }) };
    },
  );
}

function addTaskRoutes(app: Api, face: ApiFace): void {
  app.get('/v1/jobs', { ...reader, schema: answers('Jobs with their progress', jobListSchema, {}) }, async () => ({
    jobs: await face.jobs(),
  }));
  app.get<{ Querystring: v.InferOutput<typeof taskQuery> }>(
    '/v1/tasks',
    { ...reader, schema: answers('Tasks', taskListSchema, { querystring: taskQuery }) },
    async request => ({ tasks: await face.tasks(request.query) }),
  );
  app.get<{ Querystring: v.InferOutput<typeof taskQuery> }>(
    '/v1/tasks/watch',
    {
      ...reader,
      schema: { summary: 'Tasks, and again those that change, as server-sent events', querystring: taskQuery },
    },
    async (request, reply) => {
      const tell = (tasks: readonly unknown[]) => send(tasks.length === 0 ? undefined : { tasks });
      face.watchTasks(request.query, tell, signalOf(reply));
      const send = openEventSource(reply);
      return reply;
    },
  );
  app.get<{ Params: v.InferOutput<typeof taskPath> }>(
    '/v1/tasks/:id',
    { ...reader, schema: answers('A task and all that was reported on it', taskDetailSchema, { params: taskPath }) },
    request => face.task(request.params.id),
  );
  app.post<{ Body: v.InferOutput<typeof applyRequestSchema> }>(
    '/v1/plan',
    {
      ...reader,
      schema: answers('Where the tasks of jobs would go; nothing is stored', planSchema, { body: applyRequestSchema }),
    },
    request => face.plan(request.body.documents),
  );
  app.get<{ Params: v.InferOutput<typeof taskPath> }>(
    '/v1/tasks/:id/explain',
    { ...reader, schema: answers('Node by node why a task is not there', taskExplanationSchema, { params: taskPath }) },
    request => face.explainTask(request.params.id),
  );
}

function addFleetRoutes(app: Api, face: ApiFace): void {
  app.get(
    '/v1/services',
    { ...reader, schema: answers('Services and their endpoints', serviceListSchema, {}) },
    async () => ({
      services: await face.services(),
    }),
  );
  app.get(
    '/v1/policies',
    { ...reader, schema: answers('Policies and where they are in force', policyListSchema, {}) },
    async () => ({
      policies: await face.policies(),
    }),
  );
  app.get('/v1/mesh', { ...reader, schema: answers('What policies are read in', meshSchema, {}) }, async () =>
    face.mesh(),
  );
  app.get<{ Querystring: v.InferOutput<typeof auditQuery> }>(
    '/v1/audit',
    { ...reader, schema: answers('Decided requests, newest first', auditListSchema, { querystring: auditQuery }) },
    request => face.audit(request.query),
  );
  app.get<{ Querystring: v.InferOutput<typeof auditChainQuery> }>(
    '/v1/audit/chain',
    {
      ...reader,
      schema: answers('The audit as it was stored and signed, oldest first', auditChainPageSchema, {
        querystring: auditChainQuery,
      }),
    },
    request => face.auditChain(request.query),
  );
  app.get<{ Querystring: v.InferOutput<typeof eventQuery> }>(
    '/v1/events',
    {
      ...reader,
      schema: answers('What happened in the fleet, newest last', eventListSchema, { querystring: eventQuery }),
    },
    async request => ({ events: await face.events(request.query) }),
  );
}

function addJoinRoutes(app: Api, face: ApiFace): void {
  app.post<{ Body: v.InferOutput<typeof createTokenRequestSchema> }>(
    '/v1/join-tokens',
    { ...admin, schema: answers('Make a join token', createTokenResultSchema, { body: createTokenRequestSchema }) },
    request => face.createJoinToken(request.body),
  );
  app.get(
    '/v1/join-tokens',
    { ...reader, schema: answers('Join tokens, without their secrets', joinTokenListSchema, {}) },
    async () => ({ tokens: await face.joinTokens() }),
  );
  app.delete<{ Params: v.InferOutput<typeof idPath> }>(
    '/v1/join-tokens/:id',
    {
      ...admin,
      schema: answers('Let nobody join with a token any more', v.object({ removed: v.boolean() }), { params: idPath }),
    },
    async request => {
      await face.revokeJoinToken(request.params.id);
      return { removed: true };
    },
  );
  app.get(
    '/v1/joins',
    { ...reader, schema: answers('Nodes that wait to be let in', joinListSchema, {}) },
    async () => ({
      joins: await face.joins(),
    }),
  );
  app.post<{ Params: v.InferOutput<typeof idPath> }>(
    '/v1/joins/:id/approve',
    { ...admin, schema: answers('Let a node in', joinDecisionSchema, { params: idPath }) },
    async request => {
      await face.approveJoin(request.params.id);
      return { id: request.params.id, state: 'approved' };
    },
  );
  app.post<{ Params: v.InferOutput<typeof idPath>; Body: v.InferOutput<typeof denyRequestSchema> }>(
    '/v1/joins/:id/deny',
    {
      ...admin,
      schema: answers('Keep a node out', joinDecisionSchema, {
        params: idPath,
        body: denyRequestSchema,
      }),
    },
    async request => {
      await face.denyJoin(request.params.id, request.body.reason);
      return { id: request.params.id, state: 'denied' };
    },
  );
}

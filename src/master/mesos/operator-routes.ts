import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import * as v from 'valibot';
import { messageOf } from '../../base/errors.ts';
import { decode, decodeJson } from '../../base/shape.ts';
import { agentCallEntries, type Wanted, wantedOf } from './agent-calls.ts';
import { mesosBounds } from './bounds.ts';
import { withoutNulls } from './calls.ts';
import { type EventStream, openEventStream } from './event-stream.ts';
import { accepts, chooseMedia } from './media.ts';
import type { Mesos } from './mesos.ts';
import { refuse } from './refuse.ts';

const idSchema = v.object({ value: v.pipe(v.string(), v.maxLength(255)) });
const operatorCallSchema = v.pipe(
  v.unknown(),
  v.transform(withoutNulls),
  v.object({
    type: v.pipe(v.string(), v.regex(/^[A-Z_]{1,64}$/, 'expected the name of a call as GET_STATE')),
    teardown: v.optional(v.object({ framework_id: idSchema })),
    ...agentCallEntries,
  }),
);

const whole = v.pipe(v.string(), v.regex(/^-?\d{1,9}$/, 'expected a whole number'), v.transform(Number));
const taskQuerySchema = v.object({
  limit: v.optional(whole, '100'),
  offset: v.optional(whole, '0'),
  order: v.optional(v.picklist(['asc', 'des']), 'des'),
  framework_id: v.optional(v.string()),
  task_id: v.optional(v.string()),
});

/** Mesos' operator API: `/api/v1`, and the endpoints of before it under all their names. */
export function addOperatorRoutes(app: FastifyInstance, mesos: Mesos): void {
  const { operator } = mesos;
  app.post('/api/v1', readerAccess, (request, reply) => call(mesos, request, reply));
  const get = (paths: readonly string[], answer: (request: FastifyRequest) => Promise<object>) => {
    for (const url of paths) {
      app.get(url, readerAccess, async (request, reply) => sendJson(reply, await answer(request)));
    }
  };
  get(namesOf('state', 'state.json'), () => operator.state());
  get(namesOf('state-summary'), () => operator.summary());
  get(namesOf('slaves'), () => operator.agents());
  get(namesOf('frameworks'), () => operator.frameworks());
  get(namesOf('tasks', 'tasks.json'), request => {
    const query = decode(taskQuerySchema, request.query, 'query');
    const { limit, offset, order, framework_id: framework, task_id: task } = query;
    return operator.tasks({ limit: Math.max(0, limit), offset: Math.max(0, offset), order, framework, task });
  });
  get(['/metrics/snapshot'], () => operator.metrics());
  app.get('/master/health', publicAccess, (_, reply) => reply.send());
  get(['/version', '/master/version'], async () => operator.version());
  for (const url of ['/redirect', '/master/redirect']) {
    app.get(url, publicAccess, (_, reply) => {
      const { hostname, port } = operator.facts;
      return reply.code(307).header('location', `//${hostname}:${port}`).send();
    });
  }
}

const readerAccess = { config: { access: 'reader' }, schema: { hide: true } } as const;
const publicAccess = { config: { access: 'public' }, schema: { hide: true } } as const;

/** Both with and without the name of the process that has it. */
function namesOf(...names: readonly string[]): string[] {
  return names.flatMap(name => [`/master/${name}`, `/${name}`]);
}

async function call(mesos: Mesos, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { operator } = mesos;
  const type = request.headers['content-type'];
  if (type === undefined) return refuse(reply, 400, "Expecting 'Content-Type' to be present");
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    return refuse(reply, 415, "Expecting 'Content-Type' of application/json: protobuf is not spoken here");
  }
  let sent: v.InferOutput<typeof operatorCallSchema>;
  try {
    const body = request.body instanceof Buffer ? request.body : Buffer.alloc(0);
    sent = decodeJson(operatorCallSchema, body, 'operator call', { maxBytes: mesosBounds.callBytes, maxDepth: 32 });
  } catch (error) {
    return refuse(reply, 400, `Failed to parse body into Call: ${messageOf(error)}`);
  }
  if (sent.type === 'SUBSCRIBE') return subscribe(mesos, request, reply);
  if (!accepts(request.headers.accept, 'application/json')) {
    return refuse(reply, 406, "Expecting 'Accept' to allow application/json");
  }
  if (sent.type === 'TEARDOWN') return teardown(mesos, sent.teardown?.framework_id.value, request, reply);
  const wanted = wantedOf(sent.type, sent, mesos.now());
  if (wanted !== undefined) return carryOut(mesos, wanted, request, reply);
  const answer = await operator.answer(sent.type);
  if (answer === undefined) return refuse(reply, 501, `${sent.type} is not carried out by this master`);
  return sendJson(reply, { type: sent.type, [sent.type.toLowerCase()]: answer });
}

async function carryOut(mesos: Mesos, wanted: Wanted, request: FastifyRequest, reply: FastifyReply) {
  const { operator } = request;
  if (operator?.role !== 'admin') return refuse(reply, 403, 'Only an admin may take an agent away');
  if ('why' in wanted) return refuse(reply, 400, wanted.why);
  const { agent, want } = wanted;
  if (!mesos.knowsAgent(agent)) return refuse(reply, 400, 'Agent cannot be found');
  if (want === 'gone') await mesos.markGone(agent, `${operator.name} marked it gone`);
  else await mesos.drain(agent, want);
  return reply.code(200).send();
}

async function teardown(mesos: Mesos, id: string | undefined, request: FastifyRequest, reply: FastifyReply) {
  if (request.operator?.role !== 'admin') return refuse(reply, 403, 'Only an admin may tear a framework down');
  if (id === undefined) return refuse(reply, 400, "Expecting 'teardown' to be present");
  const framework = mesos.get(id);
  if (framework === undefined) return refuse(reply, 400, 'Framework cannot be found');
  await mesos.teardown(framework);
  return reply.code(200).send();
}

async function subscribe({ operatorEvents, newId }: Mesos, request: FastifyRequest, reply: FastifyReply) {
  const media = chooseMedia(request.headers);
  if (media === undefined) return refuse(reply, 406, "Expecting 'Accept' to allow application/json");
  if (operatorEvents.isFull) {
    return refuse(reply, 503, `There are ${mesosBounds.operatorStreams} subscribers, which is the most`);
  }
  reply.hijack();
  reply.raw.writeHead(200, { ...media, 'cache-control': 'no-store' });
  const stream: EventStream = openEventStream(reply.raw, {
    id: newId(),
    limitBytes: mesosBounds.streamBytes,
    onClose: () => operatorEvents.leave(stream),
  });
  await operatorEvents.subscribe(stream);
  return reply;
}

function sendJson(reply: FastifyReply, value: object): FastifyReply {
  return reply.type('application/json').send(JSON.stringify(value));
}

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { messageOf } from '../../base/errors.ts';
import { answerOf } from '../api/errors.ts';
import type { Operator } from '../api/face.ts';
import { mesosBounds } from './bounds.ts';
import { type CallOf, decodeCall, type SchedulerCall } from './calls.ts';
import { type EventStream, openEventStream } from './event-stream.ts';
import type { Framework } from './framework.ts';
import { chooseMedia } from './media.ts';
import type { Mesos } from './mesos.ts';
import { refuse } from './refuse.ts';

const methods = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT'] as const;

/** `/api/v1/scheduler`: Mesos' v1 scheduler API, in JSON. */
export function addSchedulerRoute(app: FastifyInstance, mesos: Mesos): void {
  app.route({
    method: [...methods],
    url: '/api/v1/scheduler',
    config: { access: 'framework' },
    schema: { hide: true },
    handler: (request, reply) => handle(mesos, request, reply),
  });
}

/** In the order of `Master::Http::scheduler`. */
async function handle(mesos: Mesos, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const call = readCall(mesos, request, reply);
  if (call === undefined) return reply;
  const caller = request.operator;
  if (caller === null) return refuse(reply, 401, 'Expecting credentials');
  return call.type === 'SUBSCRIBE'
    ? subscribe(mesos, caller, call, request, reply)
    : carryOut(mesos, caller, call, request, reply);
}

/** Undefined where it was answered. */
function readCall(mesos: Mesos, request: FastifyRequest, reply: FastifyReply): SchedulerCall | undefined {
  const answer = (status: number, text: string) => void refuse(reply, status, text);
  const { standing } = mesos;
  if (standing.is === 'following') {
    return void reply.code(307).header('location', `//${standing.leader}${request.url}`).send();
  }
  if (standing.is === 'recovering') return answer(503, 'Master has not finished recovery');
  if (request.method !== 'POST') {
    reply.header('allow', 'POST');
    return answer(405, `Expecting one of { 'POST' }, but received '${request.method}'`);
  }
  const type = request.headers['content-type'];
  if (type === undefined) return answer(400, "Expecting 'Content-Type' to be present");
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    return answer(415, "Expecting 'Content-Type' of application/json: protobuf is not spoken here");
  }
  try {
    return decodeCall(request.body instanceof Buffer ? request.body : Buffer.alloc(0), mesosBounds.callBytes);
  } catch (error) {
    return answer(400, `Failed to parse body into Call: ${messageOf(error)}`);
  }
}

async function subscribe(
  mesos: Mesos,
  caller: Operator,
  { framework_id, subscribe: { framework_info, suppressed_roles } }: CallOf<'SUBSCRIBE'>,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const media = chooseMedia(request.headers);
  if (media === undefined) return refuse(reply, 406, "Expecting 'Accept' to allow application/json");
  if (request.headers['mesos-stream-id'] !== undefined) {
    return refuse(reply, 400, "Subscribe calls should not include the 'Mesos-Stream-Id' header");
  }
  const [outer, inner] = [framework_id?.value, framework_info.id?.value];
  if (outer !== undefined && inner !== undefined && outer !== inner) {
    return refuse(reply, 400, "'framework_id' differs from 'subscribe.framework_info.id'");
  }
  const id = outer ?? inner;
  const info = { ...framework_info, ...(id !== undefined && { id: { value: id } }) };
  let framework: Framework | undefined;
  let isClosed = false;
  reply.hijack();
  const streamId = mesos.newId();
  reply.raw.writeHead(200, { ...media, 'mesos-stream-id': streamId, 'cache-control': 'no-store' });
  const stream: EventStream = openEventStream(reply.raw, {
    id: streamId,
    limitBytes: mesosBounds.streamBytes,
    onClose: () => {
      isClosed = true;
      if (framework !== undefined) mesos.disconnect(framework, stream);
    },
  });
  const principal = caller.name;
  framework = await mesos.subscribe(
    { principal, mayHave: caller.roles, info, suppressedRoles: suppressed_roles },
    stream,
  );
  if (framework !== undefined && isClosed) mesos.disconnect(framework, stream);
  return reply;
}

async function carryOut(
  mesos: Mesos,
  caller: Operator,
  call: Exclude<SchedulerCall, CallOf<'SUBSCRIBE'>>,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const id = call.framework_id?.value;
  if (id === undefined) return refuse(reply, 400, "Expecting 'framework_id' to be present");
  const framework = mesos.get(id);
  // who may not call as it need not know that it is there
  if (framework === undefined || framework.principal !== caller.name) {
    return refuse(reply, 400, 'Framework cannot be found');
  }
  if (framework.stream === undefined) return refuse(reply, 403, 'Framework is not subscribed');
  const streamId = request.headers['mesos-stream-id'];
  if (streamId === undefined)
    return refuse(reply, 400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header");
  if (streamId !== framework.stream.id) {
    return refuse(reply, 400, 'The stream ID included in this request did not match the stream ID of the framework');
  }
  try {
    const { status, body } = await mesos.call(framework, call, caller.roles);
    reply.code(status);
    return body === undefined ? reply.send() : reply.type('application/json').send(JSON.stringify(body));
  } catch (error) {
    const { status, body } = answerOf(error);
    return refuse(reply, status, body.error.message);
  }
}

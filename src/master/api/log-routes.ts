import * as v from 'valibot';
import { taskLogSchema } from '../../model/api.ts';
import { taskIdSchema } from '../../model/ids.ts';
import { type ExecRequest, execRequestSchema, outputFrameSchema, outputStreams } from '../../model/output.ts';
import type { Api } from './api.ts';
import type { ApiFace } from './face.ts';
import { streamFrames } from './frame-stream.ts';
import { nameOf } from './operator-name.ts';
import { signalOf } from './request-signal.ts';
import { admin, answers, reader } from './route-schema.ts';
import { wholeText } from './whole-text.ts';

const taskPath = v.object({ id: taskIdSchema });
const logQuery = v.strictObject({
  stream: v.optional(v.picklist(outputStreams), 'stdout'),
  tailBytes: v.optional(v.pipe(wholeText, v.maxValue(65_536, 'expected at most 65536')), '65536'),
  tailLines: v.optional(wholeText),
  since: v.optional(wholeText),
  follow: v.optional(
    v.pipe(
      v.picklist(['true', 'false']),
      v.transform(word => word === 'true'),
    ),
    'false',
  ),
});

/** What tasks and commands next to them write. */
export function addLogRoutes(app: Api, face: ApiFace): void {
  app.get<{ Params: v.InferOutput<typeof taskPath>; Querystring: v.InferOutput<typeof logQuery> }>(
    '/v1/tasks/:id/log',
    {
      ...reader,
      schema: answers(
        'The end of a task’s output; with follow=true a stream of JSON lines, until the task ends',
        taskLogSchema,
        { params: taskPath, querystring: logQuery },
      ),
    },
    async (request, reply) => {
      const { follow, ...rest } = request.query;
      const query = { task: request.params.id, ...rest };
      if (follow) return streamFrames(reply, (onFrame, signal) => face.followLog(query, onFrame, signal));
      return { task: query.task, stream: query.stream, data: await face.taskLog(query, signalOf(reply)) };
    },
  );
  app.post<{ Params: v.InferOutput<typeof taskPath>; Body: ExecRequest }>(
    '/v1/tasks/:id/exec',
    {
      ...admin,
      schema: answers('Run a command next to a task: a stream of JSON lines, until it ends', outputFrameSchema, {
        params: taskPath,
        body: execRequestSchema,
      }),
    },
    (request, reply) => {
      const exec = { ...request.body, task: request.params.id, by: nameOf(request) };
      return streamFrames(reply, (onFrame, signal) => face.exec(exec, onFrame, signal));
    },
  );
}

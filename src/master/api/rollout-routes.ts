import * as v from 'valibot';
import { nameSchema } from '../../model/ids.ts';
import { jobUpdateCommands, jobUpdateViewSchema } from '../../model/job-update.ts';
import { rolloutCommands, rolloutListSchema, rolloutViewSchema } from '../../model/rollout.ts';
import type { Api } from './api.ts';
import type { ApiFace } from './face.ts';
import { nameOf } from './operator-name.ts';
import { admin, answers, reader } from './route-schema.ts';

const commandPath = v.object({
  name: v.pipe(v.string(), v.maxLength(64)),
  command: v.picklist(rolloutCommands),
});

const updatePath = v.object({ namespace: nameSchema, job: nameSchema, command: v.picklist(jobUpdateCommands) });

/** Rollouts and updates of jobs, and what an operator does with those under way. */
export function addRolloutRoutes(app: Api, face: ApiFace): void {
  app.get(
    '/v1/rollouts',
    { ...reader, schema: answers('Rollouts, newest first', rolloutListSchema, {}) },
    async () => ({ rollouts: await face.rollouts() }),
  );
  app.post<{ Params: v.InferOutput<typeof commandPath> }>(
    '/v1/rollouts/:name/:command',
    {
      ...admin,
      schema: answers('Pause, resume or abort a rollout', rolloutViewSchema, { params: commandPath }),
    },
    request => face.commandRollout(request.params.name, request.params.command, nameOf(request)),
  );
  app.post<{ Params: v.InferOutput<typeof updatePath> }>(
    '/v1/jobs/:namespace/:job/:command',
    {
      ...admin,
      schema: answers('Promote or revert the update of a job', jobUpdateViewSchema, { params: updatePath }),
    },
    request => {
      const { command, ...job } = request.params;
      return face.commandUpdate(job, command, nameOf(request));
    },
  );
}

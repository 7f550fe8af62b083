import * as v from 'valibot';
import { rolloutCommands, rolloutListSchema, rolloutViewSchema } from '../../model/rollout.ts';
import type { Api } from './api.ts';
import type { ApiFace } from './face.ts';
import { nameOf } from './operator-name.ts';
import { admin, answers, reader } from './route-schema.ts';

const commandPath = v.object({
  name: v.pipe(v.string(), v.maxLength(64)),
  command: v.picklist(rolloutCommands),
});

/** Rollouts, and what an operator does with the one under way. */
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
}

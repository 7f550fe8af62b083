import * as v from 'valibot';
import { removeResultSchema } from '../../model/api.ts';
import { nameSchema } from '../../model/ids.ts';
import { putSecretRequestSchema, putSecretResultSchema, secretListSchema } from '../../model/secret.ts';
import type { Api } from './api.ts';
import type { ApiFace } from './face.ts';
import { nameOf } from './operator-name.ts';
import { admin, answers, reader } from './route-schema.ts';

const secretPath = v.object({ namespace: nameSchema, name: nameSchema });

export function addSecretRoutes(app: Api, face: ApiFace): void {
  app.put<{ Params: v.InferOutput<typeof secretPath>; Body: v.InferOutput<typeof putSecretRequestSchema> }>(
    '/v1/secrets/:namespace/:name',
    {
      ...admin,
      schema: answers('Store a secret; it is never given back', putSecretResultSchema, {
        params: secretPath,
        body: putSecretRequestSchema,
      }),
    },
    request => face.secrets.put(request.params, request.body.value, nameOf(request)),
  );
  app.get(
    '/v1/secrets',
    { ...reader, schema: answers('Secrets, without their values', secretListSchema, {}) },
    async () => ({ secrets: await face.secrets.list() }),
  );
  app.delete<{ Params: v.InferOutput<typeof secretPath> }>(
    '/v1/secrets/:namespace/:name',
    { ...admin, schema: answers('Forget a secret that no job uses', removeResultSchema, { params: secretPath }) },
    async request => {
      await face.secrets.remove(request.params, nameOf(request));
      return { removed: true };
    },
  );
}

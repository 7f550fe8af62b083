import * as v from 'valibot';
import {
  createCredentialRequestSchema,
  createCredentialResultSchema,
  credentialListSchema,
  frameworkListSchema,
  roleListSchema,
} from '../../model/api.ts';
import { nameSchema } from '../../model/ids.ts';
import type { Api } from './api.ts';
import type { ApiFace } from './face.ts';
import { admin, answers, reader } from './route-schema.ts';

const namePath = v.object({ name: nameSchema });

/** Who shares the fleet: roles, frameworks of Mesos' API, and what these show to be let in. */
export function addFrameworkRoutes(app: Api, face: ApiFace): void {
  app.get(
    '/v1/roles',
    { ...reader, schema: answers('Roles, what they hold and what they are promised', roleListSchema, {}) },
    async () => ({ roles: await face.roles() }),
  );
  app.get(
    '/v1/frameworks',
    { ...reader, schema: answers('Frameworks of Mesos’ API', frameworkListSchema, {}) },
    async () => ({ frameworks: await face.frameworks() }),
  );
  app.get(
    '/v1/framework-credentials',
    { ...reader, schema: answers('Credentials of frameworks, without their secrets', credentialListSchema, {}) },
    async () => ({ credentials: await face.credentials() }),
  );
  app.post<{ Body: v.InferOutput<typeof createCredentialRequestSchema> }>(
    '/v1/framework-credentials',
    {
      ...admin,
      schema: answers('Let a framework in', createCredentialResultSchema, { body: createCredentialRequestSchema }),
    },
    request => face.createCredential(request.body),
  );
  app.delete<{ Params: v.InferOutput<typeof namePath> }>(
    '/v1/framework-credentials/:name',
    {
      ...admin,
      schema: answers('Let a framework in no more', v.object({ removed: v.boolean() }), { params: namePath }),
    },
    async request => {
      await face.removeCredential(request.params.name);
      return { removed: true };
    },
  );
}

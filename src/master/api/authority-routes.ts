import * as v from 'valibot';
import { brokerCertificateRequestSchema, brokerCertificateSchema } from '../../model/api.ts';
import {
  authorityViewSchema,
  certificateListSchema,
  retireRequestSchema,
  rotateRequestSchema,
  serialSchema,
} from '../../model/certificate.ts';
import { nameSchema } from '../../model/ids.ts';
import type { Api } from './api.ts';
import type { ApiFace } from './face.ts';
import { admin, answers, reader } from './route-schema.ts';

const listQuery = v.strictObject({
  node: v.optional(nameSchema),
  all: v.optional(v.picklist(['true', 'false']), 'false'),
});
const serialPath = v.object({ serial: serialSchema });
const nodePath = v.object({ node: nameSchema });

/** Certificates, their end, and the authority that they are by. */
export function addAuthorityRoutes(app: Api, face: ApiFace): void {
  app.get<{ Querystring: v.InferOutput<typeof listQuery> }>(
    '/v1/certificates',
    { ...reader, schema: answers('Certificates, newest first', certificateListSchema, { querystring: listQuery }) },
    async ({ query: { node, all } }) => ({ certificates: await face.certificates({ node, all: all === 'true' }) }),
  );
  app.post<{ Params: v.InferOutput<typeof serialPath> }>(
    '/v1/certificates/:serial/revoke',
    { ...admin, schema: answers('Revoke a certificate', certificateListSchema, { params: serialPath }) },
    async request => ({ certificates: await face.revoke({ serial: request.params.serial }) }),
  );
  app.post<{ Params: v.InferOutput<typeof nodePath> }>(
    '/v1/nodes/:node/revoke',
    {
      ...admin,
      schema: answers('Revoke all certificates of a node and cut it off', certificateListSchema, { params: nodePath }),
    },
    async request => ({ certificates: await face.revoke({ node: request.params.node }) }),
  );
  app.get('/v1/authority', { ...reader, schema: answers('The authority', authorityViewSchema, {}) }, async () =>
    face.authority(),
  );
  app.post<{ Body: v.InferOutput<typeof rotateRequestSchema> }>(
    '/v1/authority/rotate',
    {
      ...admin,
      schema: answers('Make a new issuing authority, or a new root', authorityViewSchema, {
        body: rotateRequestSchema,
      }),
    },
    request => face.rotateAuthority(request.body),
  );
  app.post<{ Body: v.InferOutput<typeof brokerCertificateRequestSchema> }>(
    '/v1/broker-certificates',
    {
      ...admin,
      schema: answers('Issue a certificate for a broker that is not the master’s own', brokerCertificateSchema, {
        body: brokerCertificateRequestSchema,
      }),
    },
    request => face.certifyBroker(request.body),
  );
  app.post<{ Body: v.InferOutput<typeof retireRequestSchema> }>(
    '/v1/authority/retire',
    { ...admin, schema: answers('Retire the old root', authorityViewSchema, { body: retireRequestSchema }) },
    request => face.retireAuthority(request.body),
  );
}

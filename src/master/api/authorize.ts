import { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import { MesoliteError } from '../../base/errors.ts';
import type { ApiFace, Operator } from './face.ts';

declare module 'fastify' {
  interface FastifyRequest {
    operator: Operator | null;
    /** On paths for nodes. */
    node: string | null;
  }
  interface FastifyContextConfig {
    /** Who may call: anyone, a node by its certificate, any operator, only an admin, or (of Mesos' scheduler API) an admin and frameworks. */
    access?: 'public' | 'reader' | 'admin' | 'framework' | 'node';
    /** Its body may take longer than that of others, and is for the route to bound. */
    isLong?: boolean;
  }
}

/** Lets in who may call the path, and says who it is; throws UNAUTHENTICATED or FORBIDDEN. */
export async function authorize(
  face: Pick<ApiFace, 'authenticate'> & Partial<Pick<ApiFace, 'nodeOf'>>,
  request: FastifyRequest,
): Promise<void> {
  // Default deny: a path that says nothing, unknown ones too, wants an admin.
  const access = request.routeOptions.config.access ?? 'admin';
  if (access === 'public') return;
  if (access === 'node') {
    const node = request.raw.socket instanceof TLSSocket ? face.nodeOf?.(request.raw.socket) : undefined;
    if (node === undefined) throw new MesoliteError('UNAUTHENTICATED', 'expected the certificate of a node');
    request.node = node;
    return;
  }
  const { name, token } = readCredentials(request.headers.authorization ?? '');
  const operator = token === undefined ? undefined : await face.authenticate(token);
  if (operator === undefined || (name !== undefined && name !== operator.name)) {
    throw new MesoliteError('UNAUTHENTICATED', 'expected a valid token in "authorization: Bearer <token>"');
  }
  if (operator.role !== 'admin' && operator.role !== access) {
    const may = operator.role === 'reader' ? 'may read, not change' : 'may use the scheduler API of Mesos alone';
    throw new MesoliteError('FORBIDDEN', `${operator.name} ${may}`);
  }
  request.operator = operator;
}

/** A bearer token, or as older clients have it `Basic` with a principal and its secret: the token. */
function readCredentials(header: string): { readonly name?: string | undefined; readonly token?: string | undefined } {
  const [, token] = /^Bearer ([\x21-\x7e]{1,256})$/.exec(header) ?? [];
  if (token !== undefined) return { token };
  const [, encoded] = /^Basic ([A-Za-z0-9+/]{1,1024}={0,2})$/i.exec(header) ?? [];
  if (encoded === undefined) return {};
  const [, name, secret] = /^([^:]*):([\x21-\x7e]{1,256})$/.exec(Buffer.from(encoded, 'base64').toString()) ?? [];
  return { name, token: secret };
}

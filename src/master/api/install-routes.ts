import { createReadStream } from 'node:fs';
import type { FastifyReply } from 'fastify';
import * as v from 'valibot';
import type { Clock } from '../../base/clock.ts';
import { MesoliteError } from '../../base/errors.ts';
import { TokenBucket } from '../../base/token-bucket.ts';
import { sha256Hex } from '../../identity/keys.ts';
import { installerSchema } from '../../model/installer.ts';
import type { Installer, InstallFile } from '../installer.ts';
import type { Api } from './api.ts';
import { answers, open, reader } from './route-schema.ts';

export const installApiBounds = {
  /** So many files are sent at once; the rest comes back. */
  sent: 32,
  /** Of a transfer, without a byte. */
  idleMs: 30_000,
  /** Scripts and files, of all callers together. */
  rate: { perSecond: 20, burst: 200 },
} as const;

const path = v.object({ file: v.pipe(v.string(), v.maxLength(64)) });

/** What a machine fetches that shall be a node: anybody may, so nothing of it is secret, and there is a bound to how much. */
export function addInstallRoutes(
  app: Api,
  { installer, clock }: { readonly installer: Installer; readonly clock: Clock },
): void {
  const bucket = new TokenBucket(installApiBounds.rate, clock.monotonic());
  let sending = 0;
  const admit = (): void => {
    if (sending < installApiBounds.sent && bucket.take(1, clock.monotonic())) return;
    throw new MesoliteError('UNAVAILABLE', 'many machines are being installed: try again');
  };

  app.get(
    '/install.sh',
    { ...open, schema: { summary: 'A script that makes a machine a node' } },
    async (request, reply) => {
      admit();
      return reply.type('text/x-shellscript; charset=utf-8').send(await installer.script(request.headers.host ?? ''));
    },
  );
  app.get<{ Params: v.InferOutput<typeof path> }>(
    '/install/:file',
    { config: { access: 'public', isLong: true }, schema: { summary: 'What the script fetches', params: path } },
    async (request, reply) => {
      admit();
      const file = await installer.open(request.params.file);
      sending++;
      reply.raw.once('close', () => sending--);
      return send(reply, file);
    },
  );
  app.get(
    '/v1/installer',
    {
      ...reader,
      schema: answers('The sha256 of that script, for those who fetch it by the same name', installerSchema, {}),
    },
    async request => ({ sha256: sha256Hex(Buffer.from(await installer.script(request.headers.host ?? ''))) }),
  );
}

function send(reply: FastifyReply, { bytes, from }: InstallFile): FastifyReply {
  reply.raw.setTimeout(installApiBounds.idleMs, () => reply.raw.destroy());
  reply.headers({ 'content-type': 'application/gzip', 'content-length': bytes });
  return reply.send(typeof from === 'string' ? createReadStream(from) : from);
}

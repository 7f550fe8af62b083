import { createReadStream } from 'node:fs';
import type { FastifyReply } from 'fastify';
import * as v from 'valibot';
import { type Clock, secondMs } from '../../base/clock.ts';
import { MesoliteError } from '../../base/errors.ts';
import { TokenBucket } from '../../base/token-bucket.ts';
import { sha256Hex } from '../../identity/keys.ts';
import { installerSchema } from '../../model/installer.ts';
import type { Installer, InstallFile } from '../installer.ts';
import type { Api } from './api.ts';
import { answers, open, reader } from './route-schema.ts';
import { Transfers } from './transfers.ts';

export const installApiBounds = {
  /** So many files are sent at once, and to one address; the rest comes back. */
  sent: { all: 32, ofAddress: 4 },
  /** Of a transfer, without a byte. */
  idleMs: 30_000,
  /** A transfer may take so long, and as long as its bytes take at that speed; a slower one ends. */
  sentWithin: { atLeastMs: 60_000, bytesPerSecond: 16 * 1024 },
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
  const transfers = new Transfers(installApiBounds.sent);
  const admit = (): void => {
    if (bucket.take(1, clock.monotonic())) return;
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
      // before anything is waited for: who leaves within that is heard, and a burst is counted
      const over = transfers.begin(request.raw, reply.raw);
      const file = await installer.open(request.params.file);
      const { atLeastMs, bytesPerSecond } = installApiBounds.sentWithin;
      const withinMs = atLeastMs + (file.bytes / bytesPerSecond) * secondMs;
      void clock.sleep(withinMs, over).then(isLate => isLate && request.raw.socket.destroy());
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

import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import { isMesoliteError, MesoliteError, messageOf } from '../base/errors.ts';
import { openTls, type TlsDialParts } from './dial.ts';

/** An answer, whose body is still to come. */
export interface HttpsAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Throws UNAVAILABLE when it is cut off, or nothing comes for so long. */
  body(): AsyncGenerator<Uint8Array>;
  close(): void;
}

export interface HttpsGetSettings {
  /** Of connection and answer; the body has it for each piece. */
  readonly idleMs?: number;
}

/** One GET on a connection of its own; a redirect is an answer like any other. Throws UNAVAILABLE or UNTRUSTED. */
export async function httpsGet(
  parts: TlsDialParts,
  url: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
  { idleMs }: HttpsGetSettings = {},
): Promise<HttpsAnswer> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = url.port === '' ? 443 : Number(url.port);
  const opening = idleMs === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(idleMs)]);
  const socket = await open(parts, host, port, opening);
  const broken = (cause: unknown) =>
    isMesoliteError(cause)
      ? cause
      : new MesoliteError('UNAVAILABLE', `${url.host} gave no answer: ${messageOf(signal.reason ?? cause)}`, { cause });
  if (idleMs !== undefined) {
    socket.setTimeout(idleMs, () =>
      socket.destroy(new MesoliteError('UNAVAILABLE', `${url.host} has sent nothing for ${idleMs / 1000} s`)),
    );
  }
  try {
    const response = await ask(socket, url, headers, signal);
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: () => bodyOf(response, broken),
      close: () => socket.destroy(),
    };
  } catch (cause) {
    socket.destroy();
    throw broken(cause);
  }
}

async function open(parts: TlsDialParts, host: string, port: number, signal: AbortSignal): Promise<Socket> {
  try {
    return await openTls(parts, { host, port }, signal);
  } catch (error) {
    if (!isMesoliteError(error, 'UNTRUSTED')) throw error;
    const reason = messageOf(error.cause);
    throw new MesoliteError('UNTRUSTED', `the certificate of ${host}:${port} is not believed: ${reason}`, {
      cause: error,
    });
  }
}

function ask(
  socket: Socket,
  url: URL,
  more: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { host: url.host, 'user-agent': 'mesolite', ...more };
    const asked = request(
      { createConnection: () => socket, path: url.pathname + url.search, headers, signal },
      resolve,
    );
    asked.on('error', reject);
    asked.end();
  });
}

async function* bodyOf(response: IncomingMessage, broken: (cause: unknown) => unknown): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of response) if (piece instanceof Uint8Array) yield piece;
  } catch (cause) {
    throw broken(cause);
  }
  if (!response.complete) throw broken(new Error('its answer is cut off'));
}

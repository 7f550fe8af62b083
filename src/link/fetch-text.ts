import { type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';
import { isMesoliteError, MesoliteError, messageOf } from '../base/errors.ts';
import { openTls } from './dial.ts';
import type { ProxyRules } from './proxy-rules.ts';

/** GETs a small text over HTTPS; throws UNAVAILABLE, UNTRUSTED or TOO_LARGE, and none of them repeats what came. */
export type FetchText = (url: string, signal: AbortSignal) => Promise<string>;

/**
 * Where the environment names a proxy, through that. The server has to show a certificate for its name that this system (or
 * `NODE_EXTRA_CA_CERTS`) believes; a redirect is an answer like any other that is not 200.
 */
export function makeFetchText({
  proxyFor,
  maxBytes,
}: {
  readonly proxyFor: ProxyRules;
  readonly maxBytes: number;
}): FetchText {
  return async (text, signal) => {
    const url = new URL(text);
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const port = url.port === '' ? 443 : Number(url.port);
    const socket = await open(host, port, proxyFor, signal);
    try {
      return await read(await ask(socket, url, signal), maxBytes);
    } catch (cause) {
      if (isMesoliteError(cause)) throw cause;
      throw new MesoliteError('UNAVAILABLE', `${url.host} gave no answer: ${messageOf(signal.reason ?? cause)}`, {
        cause,
      });
    } finally {
      socket.destroy();
    }
  };
}

async function open(host: string, port: number, proxyFor: ProxyRules, signal: AbortSignal): Promise<Socket> {
  // the name is told for the sake of a tunnel, whose socket has the name of the proxy
  const parts = { tls: () => ({ host }), verifyServer: () => undefined, proxyFor };
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

function ask(socket: Socket, url: URL, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { host: url.host, accept: 'application/json', 'user-agent': 'mesolite' };
    const path = url.pathname + url.search;
    const asked = request({ createConnection: () => socket, path, headers, signal }, resolve);
    asked.on('error', reject);
    asked.end();
  });
}

async function read(response: IncomingMessage, maxBytes: number): Promise<string> {
  const { statusCode = 0 } = response;
  if (statusCode !== 200) {
    const hint = statusCode >= 300 && statusCode < 400 ? ': redirects are not followed' : '';
    throw new MesoliteError('UNAVAILABLE', `it answers ${statusCode}${hint}`);
  }
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of response) {
    if (!(piece instanceof Uint8Array)) continue;
    bytes += piece.length;
    if (bytes > maxBytes) throw new MesoliteError('TOO_LARGE', `its answer has more than ${maxBytes} bytes`);
    pieces.push(piece);
  }
  if (!response.complete) throw new MesoliteError('UNAVAILABLE', 'its answer is cut off');
  return Buffer.concat(pieces).toString('utf8');
}

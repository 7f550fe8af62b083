import { MesoliteError } from '../base/errors.ts';
import { type HttpsAnswer, httpsGet } from './https-get.ts';
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
    // the name is told for the sake of a tunnel, whose socket has the name of the proxy
    const tls = { host: url.hostname.replace(/^\[|\]$/g, '') };
    const parts = { tls: () => tls, verifyServer: () => undefined, proxyFor };
    const answer = await httpsGet(parts, url, { accept: 'application/json' }, signal);
    try {
      return await read(answer, maxBytes);
    } finally {
      answer.close();
    }
  };
}

async function read({ status, body }: HttpsAnswer, maxBytes: number): Promise<string> {
  if (status !== 200) {
    const hint = status >= 300 && status < 400 ? ': redirects are not followed' : '';
    throw new MesoliteError('UNAVAILABLE', `it answers ${status}${hint}`);
  }
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of body()) {
    bytes += piece.length;
    if (bytes > maxBytes) throw new MesoliteError('TOO_LARGE', `its answer has more than ${maxBytes} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

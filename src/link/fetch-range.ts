import { MesoliteError } from '../base/errors.ts';
import type { TlsDialParts } from './dial.ts';
import { type HttpsAnswer, httpsGet } from './https-get.ts';

/** Bytes of a file from `from` on, which is 0 where the server begins anew. */
export interface RangeAnswer {
  readonly from: number;
  /** Of the whole file; undefined where the server does not say. */
  readonly total: number | undefined;
  /** Names this content of it; undefined where the server does not say. */
  readonly etag: string | undefined;
  readonly answer: HttpsAnswer;
}

/** What is there already, of which the server is asked for the rest. */
export interface Begun {
  readonly bytes: number;
  readonly etag: string | undefined;
}

/** An answer may be elsewhere so many times. */
const maxRedirects = 5;
const idleMs = 30_000;

/**
 * GETs a file, or the rest of it where it is still the same (RFC 9110 14.2, 13.1.5), following redirects to HTTPS. Throws UNAVAILABLE
 * or UNTRUSTED for what may be better later, NOT_FOUND or FORBIDDEN for what the server refuses.
 */
export async function fetchRange(
  partsFor: (url: URL) => TlsDialParts,
  source: URL,
  begun: Begun,
  signal: AbortSignal,
): Promise<RangeAnswer> {
  const { bytes, etag } = begun;
  const range = bytes === 0 ? {} : { range: `bytes=${bytes}-`, ...(etag !== undefined && { 'if-range': etag }) };
  let url = source;
  for (let redirects = 0; redirects <= maxRedirects; redirects++) {
    // a body that is packed for the way is no range of the file
    const headers = { accept: '*/*', 'accept-encoding': 'identity', ...range };
    const answer = await httpsGet(partsFor(url), url, headers, signal, { idleMs });
    const { location } = answer.headers;
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) {
      return await read(answer, url, begun).catch(error => {
        answer.close();
        throw error;
      });
    }
    answer.close();
    url = next(location, url);
  }
  throw new MesoliteError('NOT_FOUND', `${source.host} leads to ${maxRedirects} other places and more`);
}

function next(location: string, from: URL): URL {
  let url: URL;
  try {
    url = new URL(location, from);
  } catch {
    throw new MesoliteError('NOT_FOUND', `${from.host} leads to where nothing can be`);
  }
  if (url.protocol === 'https:') return url;
  throw new MesoliteError(
    'FORBIDDEN',
    `${from.host} leads to ${url.protocol}//${url.host}, and only https is followed`,
  );
}

async function read(answer: HttpsAnswer, url: URL, begun: Begun): Promise<RangeAnswer> {
  const { status, headers } = answer;
  // a weak one does not say that the bytes are the same
  const etag = headers.etag?.startsWith('"') === true && headers.etag.length <= 256 ? headers.etag : undefined;
  if (status === 200) return { from: 0, total: wholeOf(headers['content-length']), etag, answer };
  if (status === 206) {
    const [, from, total] = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15}|\*)$/.exec(headers['content-range'] ?? '') ?? [];
    if (Number(from) === begun.bytes) return { from: begun.bytes, total: wholeOf(total), etag, answer };
    throw new MesoliteError('UNAVAILABLE', `${url.host} sent another range than it was asked for`);
  }
  // nothing is left to send, or there is less than was had
  if (status === 416 && begun.bytes > 0) throw new MesoliteError('STALE', `${url.host} has another file by now`);
  const said = `${url.host} answers ${status}`;
  if (status >= 500 || status === 408 || status === 425 || status === 429) throw new MesoliteError('UNAVAILABLE', said);
  throw new MesoliteError(status === 401 || status === 403 ? 'FORBIDDEN' : 'NOT_FOUND', said);
}

function wholeOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

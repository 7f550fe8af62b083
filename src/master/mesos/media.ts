import type { IncomingHttpHeaders } from 'node:http';

/** The headers that say what a stream of records is. */
export type StreamMedia = Readonly<Record<string, string>>;

/**
 * What a subscriber takes: records of JSON, as `application/json` (the scheduler API's way) or as `application/recordio` with
 * `Message-Accept`. JSON where nothing is said; undefined where neither will do.
 */
export function chooseMedia({ accept, 'message-accept': messageAccept }: IncomingHttpHeaders): StreamMedia | undefined {
  if (accepts(accept, 'application/json')) return { 'content-type': 'application/json' };
  const message = Array.isArray(messageAccept) ? messageAccept.join(',') : messageAccept;
  if (accepts(accept, 'application/recordio') && accepts(message, 'application/json')) {
    return { 'content-type': 'application/recordio', 'message-content-type': 'application/json' };
  }
  return undefined;
}

/** Does an `Accept` header admit `type`? A quality of 0 takes it out. */
export function accepts(header: string | undefined, type: string): boolean {
  if (header === undefined || header.trim() === '') return true;
  const ranges = header.split(',').map(part => part.trim().toLowerCase());
  const [group] = type.split('/');
  for (const wanted of [type, `${group}/*`, '*/*']) {
    const range = ranges.find(each => each.split(';')[0]?.trim() === wanted);
    if (range !== undefined) return !/;\s*q=0(\.0*)?\s*(;|$)/.test(range);
  }
  return false;
}

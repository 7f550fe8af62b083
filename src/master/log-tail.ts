import { lastLines } from '../model/output.ts';

/** A piece of an output, and when it was written at the latest, where the node says so. */
export interface TimedText {
  readonly text: string;
  readonly at?: number | undefined;
}

/** The end of what is there: not before a time, not more than so many lines, not more than so many bytes. */
export function cutTail(
  pieces: readonly TimedText[],
  {
    since,
    tailLines,
    tailBytes,
  }: {
    readonly since?: number | undefined;
    readonly tailLines?: number | undefined;
    readonly tailBytes: number;
  },
): string {
  const wanted = since === undefined ? pieces : pieces.filter(({ at }) => at === undefined || at >= since);
  const text = wanted.map(piece => piece.text).join('');
  return lastBytes(tailLines === undefined ? text : lastLines(text, tailLines), tailBytes);
}

/** Whole characters. */
function lastBytes(text: string, bytes: number): string {
  const all = Buffer.from(text);
  let start = Math.max(0, all.length - bytes);
  while (start < all.length && ((all[start] ?? 0) & 0xc0) === 0x80) start++;
  return start === 0 ? text : all.toString('utf8', start);
}

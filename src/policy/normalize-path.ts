import type { PathNormalization } from '../model/policy.ts';

/**
 * The normalised path of a request target, without query and fragment; undefined when there is none: it does not start with
 * `/` (`*` of an OPTIONS request aside) or has a NUL in it, plain or encoded. Such a request is answered with 400.
 */
export function normalizePath(target: string, mode: PathNormalization): string | undefined {
  if (target === '*') return target;
  if (target.charCodeAt(0) !== slash) return undefined;
  const need = scan(target);
  if (need === plain) return target;
  const path = need & hasEnd ? withoutQuery(target) : target;
  if (need & hasNul && (path.includes('\0') || path.includes('%00'))) return undefined;
  if (mode === 'NONE') return path;
  return need & hasWork ? rewrite(path, mode) : path;
}

const slash = 0x2f;
const plain = 0;
const hasEnd = 1;
const hasWork = 2;
const hasNul = 4;

/** One look at the target: nearly all are plain and need no new string. */
function scan(target: string): number {
  let need = plain;
  let before = 0;
  for (let i = 0; i < target.length; i++) {
    const code = target.charCodeAt(i);
    if (code === 0x3f || code === 0x23) return need | hasEnd;
    if (code === 0) need |= hasNul;
    else if (code === 0x25) need |= hasNul | hasWork;
    else if (code === 0x5c || (before === slash && (code === 0x2e || code === slash))) need |= hasWork;
    before = code;
  }
  return need;
}

function withoutQuery(target: string): string {
  const end = target.search(/[?#]/);
  return end < 0 ? target : target.slice(0, end);
}

function rewrite(path: string, mode: PathNormalization): string {
  const opened = mode === 'DECODE_AND_MERGE_SLASHES' ? path.replace(/%2f|%5c/gi, '/') : path;
  // what needs no encoding (RFC 3986 2.3) is the same character either way; decoded once, never twice
  const decoded = opened.replace(/%(2[de]|3\d|[46][1-9a-f]|5[0-9af]|7[0-9ae])/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  const resolved = removeDotSegments(decoded.replaceAll('\\', '/'));
  return mode === 'BASE' ? resolved : resolved.replace(/\/{2,}/g, '/');
}

/** `/a/./b/../c` to `/a/c`; an empty segment counts as one, so `/a//../b` is `/a/b`. */
function removeDotSegments(path: string): string {
  if (!path.includes('/.')) return path;
  const kept: string[] = [];
  const segments = path.split('/');
  for (const [i, segment] of segments.entries()) {
    const dots = segment === '.' || segment === '..';
    if (segment === '..' && kept.length > 1) kept.pop();
    if (!dots) kept.push(segment);
    else if (i === segments.length - 1) kept.push('');
  }
  return kept.join('/');
}

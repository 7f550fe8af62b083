import type { Unreadable } from '../base/match.ts';

const one = '{*}';
const many = '{**}';

/** Does a path of a policy use Istio's template operators, `{*}` (one segment) or `{**}` (any number of them)? */
export function isPathTemplate(path: string): boolean {
  return path.includes(one) || path.includes(many);
}

/**
 * Compiles a template to a regular expression without backtracking over `/`. As in Istio, an operator is a whole segment, `{**}` is
 * the last operator, and no `*`, `{` or `}` is outside of one. A `{*}` takes any character but `/` (Envoy's takes no `*` and `=`
 * there, which would let `/a/b=c` slip past a DENY of `/a/{*}`).
 */
export function parsePathTemplate(path: string): RegExp | Unreadable {
  if (!path.startsWith('/')) return { reason: `a path template starts with "/", got ${JSON.stringify(path)}` };
  const parts: string[] = [];
  let ended = false;
  for (const segment of path.slice(1).split('/')) {
    const operator = segment === one || segment === many;
    if (operator && ended) return { reason: `{**} must be the last operator, in ${JSON.stringify(path)}` };
    if (!operator && /[*{}]/.test(segment)) {
      return {
        reason: `{*} and {**} must be a whole segment, and nothing else may have "*", "{" or "}", in ${JSON.stringify(path)}`,
      };
    }
    ended ||= segment === many;
    if (operator) parts.push(segment === one ? '[^/]+' : '.*');
    else parts.push(segment.replace(/[\\^$.|?+()[\]]/g, '\\$&'));
  }
  return new RegExp(`^/${parts.join('/')}$`, 's');
}

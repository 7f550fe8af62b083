import type { PathRewrite, RedirectAction } from './route-action.ts';
import type { TextTest } from './text-test.ts';

/** The target of a request line: printable ASCII without a blank or `#`. */
const pathPattern = /^\/[\x21\x22\x24-\x7e]*$/;
const maxPath = 8 * 1024;

export function isPath(text: string): boolean {
  return text.length <= maxPath && pathPattern.test(text);
}

/**
 * The path (without query) that goes on, as Envoy makes it: what `uri` matched is replaced by the text (a prefix; the whole path where an
 * exact text or an expression matched; the leading `/` where the route asked for no path), or each match of the rewrite's own expression.
 * Undefined when that is no path.
 */
export function rewritePath(rewrite: PathRewrite, uri: TextTest | undefined, path: string): string | undefined {
  const { text, regex } = rewrite;
  if (regex !== undefined) return pathOrNothing(regex.replaceAll(path, text, maxPath));
  if (uri !== undefined && uri.kind !== 'prefix') return text;
  return pathOrNothing(text + path.slice(uri === undefined ? 1 : uri.text.length));
}

function pathOrNothing(path: string | undefined): string | undefined {
  return path !== undefined && isPath(path) ? path : undefined;
}

/** Where a client is sent to. `query` has its `?`; it stays unless the new path has one of its own. */
export function redirectLocation(action: RedirectAction, authority: string, path: string, query: string): string {
  const colon = authority.lastIndexOf(':');
  const ownHost = colon < 0 ? authority : authority.slice(0, colon);
  const ownPort = colon < 0 ? '' : authority.slice(colon);
  const host = action.authority === '' ? ownHost : action.authority;
  const port = action.port !== 0 ? `:${action.port}` : action.keepsPort ? ownPort : '';
  const newPath = action.path === '' ? path : action.path;
  return `${action.scheme}://${host}${port}${newPath}${newPath.includes('?') ? '' : query}`;
}

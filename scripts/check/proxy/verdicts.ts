import type { CompiledPolicy } from '../../../src/policy/compile.ts';
import { policyOf } from '../../../test/fixtures/proxy-node.ts';

/** How many paths take turns in being denied. */
export const turns = 8;

/** Revision `n` denies `/never` and, of the paths `/p0` to `/p7`, the one whose turn it is. */
export function policyOfRevision(revision: number): CompiledPolicy {
  const paths = ['/never/*', `/p${revision % turns}/*`];
  return policyOf('allow', { action: 'DENY', rules: [{ to: [{ operation: { paths } }] }] });
}

/** May a request for `place` (`never`, `always`, `p0` …) be allowed, and may it be denied, while revisions `from` to `to` were in force? */
export function verdictsOf(
  place: string,
  from: number,
  to: number,
): { readonly allow: boolean; readonly deny: boolean } {
  if (place === 'never') return { allow: false, deny: true };
  const turn = /^p\d$/.test(place) ? Number(place.slice(1)) : -1;
  let allow = false;
  let deny = false;
  for (let revision = from; revision <= to; revision++) {
    if (revision % turns === turn) deny = true;
    else allow = true;
  }
  return { allow, deny };
}

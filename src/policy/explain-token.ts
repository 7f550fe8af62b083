import type { PolicyOf } from '../model/document.ts';
import type { Question } from '../model/policy-case.ts';
import type { JwtRule } from '../model/request-authentication.ts';
import { selects } from '../model/selector.ts';
import { claimTexts, withLists } from './claims.ts';

/** What the RequestAuthentications of a workload mean for one call. */
export interface ExplainedToken {
  /** Whose tokens are taken; empty where none selects the workload, and no token is read. */
  readonly issuers: readonly string[];
  /** Of the token of the call, as rules see them; absent without one that is read. */
  readonly claims?: Question['request']['claims'];
  /** Why it is refused before a policy is asked, and by what name the audit knows that. */
  readonly refused?: { readonly rule: 'token-issuer' | 'token-audience'; readonly because: string };
}

/**
 * The claims of a call are those of a token that is signed and in time: `iss` and `aud` decide whether it is taken here. Where the call does not say
 * them, they are those of the first rule that takes it.
 */
export function explainToken(
  documents: readonly PolicyOf<'RequestAuthentication'>[],
  rootNamespace: string,
  { to, request }: Question,
): ExplainedToken {
  const rules = documents.flatMap(each => (selects(each, to, rootNamespace) ? each.spec.jwtRules : []));
  const issuers = [...new Set(rules.map(({ issuer }) => issuer))];
  const { claims } = request;
  if (claims === undefined || request.protocol === 'tcp' || rules.length === 0) return { issuers };
  const ofIssuer = rules.filter(({ issuer }) => claims.iss === undefined || claims.iss === issuer);
  if (ofIssuer.length === 0) {
    const because = 'the token is of an issuer whose tokens are not taken here: it is answered with 401';
    return { issuers, refused: { rule: 'token-issuer', because } };
  }
  const rule = ofIssuer.find(each => isFor(each, claims));
  if (rule === undefined) {
    const because = 'the token is for none of the audiences that its issuer is taken for here: it is answered with 403';
    return { issuers, refused: { rule: 'token-audience', because } };
  }
  const [aud] = rule.audiences;
  const said = { iss: rule.issuer, ...(aud !== undefined && { aud }), ...claims };
  return { issuers, claims: withLists(said, rule.spaceDelimitedClaims) };
}

function isFor({ audiences }: JwtRule, claims: Readonly<Record<string, unknown>>): boolean {
  if (audiences.length === 0 || claims.aud === undefined) return true;
  return claimTexts(claims, ['aud']).some(text => audiences.includes(text));
}

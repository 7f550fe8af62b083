/** Traps that `mesolite analyze` knows, by code: legal, and hardly what their author meant. */
export const warningCodes = {
  ALLOW_ALWAYS_DENIED: 'a DENY rule takes all that the ALLOW rule gives',
  ALLOW_WITHOUT_IDENTITY: 'an ALLOW rule that only says who may not: callers without mTLS, or without a token, may',
  ALLOW_WITHOUT_RULES: 'an ALLOW policy that allows nothing, and so denies all',
  GUARANTEES_EXCEED_FLEET: 'roles are guaranteed more than the fleet has: nobody else gets any',
  HTTP_FIELD_ON_TCP: 'a field that TCP does not have, for a workload that speaks TCP',
  LIKELY_MISTAKE: 'anything else that never matches, restricts nothing, or is never reached',
  NO_SUCH_SERVICE: 'a host or an upstream that no job serves',
  NO_SUCH_SUBSET: 'a route to a subset that no DestinationRule defines',
  PORT_NOT_DECLARED: 'a port that no job publishes',
  RULE_SHADOWED: 'a rule that never decides, because an earlier one matches all that it matches',
  SELECTS_NOTHING: 'a policy that selects no job',
  SUBSET_WITHOUT_ENDPOINTS: 'a route to a subset whose labels no job has',
  UNKNOWN_TRUST_DOMAIN: 'a principal of a trust domain that nobody has',
} as const satisfies Readonly<Record<string, string>>;

export type WarningCode = keyof typeof warningCodes;

/** One trap, where it is, and the way out. */
export interface Warning {
  readonly code: WarningCode;
  /** As `AuthorizationPolicy shop/readers`. */
  readonly document: string;
  /** In the document, as `spec.rules[0].to[0].operation.paths`. */
  readonly path: string;
  readonly reason: string;
  readonly fix: string;
}

/** What a check says as `<path>: <reason>`, as a warning. */
export function likelyMistake(document: string, said: string): Warning {
  const [, path = 'spec', reason = said] = /^(\S+): (.*)$/s.exec(said) ?? [];
  return { code: 'LIKELY_MISTAKE', document, path, reason, fix: 'change it, or leave it out' };
}

/** One line, for where the document is named already. */
export function warningText({ code, path, reason, fix }: Warning): string {
  return code === 'LIKELY_MISTAKE' ? `${path}: ${reason}` : `${path}: ${reason}: ${fix} (${code})`;
}

import { describeDocument, type RoleDocument } from '../model/document.ts';
import { printScalar } from '../model/resources.ts';
import type { Warning } from '../model/warning.ts';
import type { Scalars } from './amounts.ts';
import { type Overpromise, overpromises, rolePoliciesOf } from './role-policies.ts';

/** Warns of roles of `only` (as `describeDocument` names them) that promise more than a fleet of `total` has. */
export function analyzeRoles(input: {
  readonly roles: readonly RoleDocument[];
  readonly total: Scalars;
  readonly only: ReadonlySet<string>;
}): Warning[] {
  const found = overpromises(rolePoliciesOf(input.roles), input.total);
  return input.roles.flatMap(role => {
    const document = describeDocument(role);
    if (!input.only.has(document)) return [];
    return found.flatMap((each): Warning[] =>
      each.resource in role.spec.quota.guarantees
        ? [
            {
              code: 'GUARANTEES_EXCEED_FLEET',
              document,
              path: `spec.quota.guarantees.${each.resource}`,
              reason: explainOverpromise(each),
              fix: 'guarantee less, or add nodes',
            },
          ]
        : [],
    );
  });
}

export function explainOverpromise({ resource, guaranteed, total }: Overpromise): string {
  const [all, there] = [guaranteed, total].map(amount => printScalar(resource, amount));
  return `roles are guaranteed ${all} together, the fleet has ${there}: whoever has no guarantee gets none`;
}

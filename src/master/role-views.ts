import type { RoleView } from '../model/api.ts';
import { withAncestors } from '../model/role.ts';
import { taskSlots } from '../model/task-slots.ts';
import { sharesOf } from '../scheduling/allocator.ts';
import { addScalars, type Scalars } from '../scheduling/amounts.ts';
import { explainOverpromise } from '../scheduling/analyze.ts';
import type { RolePolicies } from '../scheduling/fairness.ts';
import type { Ledger } from '../scheduling/ledger.ts';
import { overpromises } from '../scheduling/role-policies.ts';

/** Roles that hold, want or are promised something, by name; `waiting` are the roles of the tasks that wait. Those above hold what those below do. */
export function viewRoles(ledger: Ledger, policies: RolePolicies, waiting: readonly string[]): RoleView[] {
  const held = new Map<string, Scalars>();
  for (const [role, { scalars }] of ledger.roles)
    for (const each of withAncestors(role)) held.set(each, addScalars(held.get(each) ?? {}, scalars));
  const wants = new Map<string, number>();
  for (const role of waiting) for (const each of withAncestors(role)) wants.set(each, (wants.get(each) ?? 0) + 1);
  const shares = sharesOf(ledger, policies);
  const excess = overpromises(policies, ledger.total);
  return [...new Set([...policies.keys(), ...held.keys(), ...wants.keys()])].sort().map(role => {
    const { weight = 1, guarantees = {}, limits = {} } = policies.get(role) ?? {};
    const { [taskSlots]: _, ...scalars } = held.get(role) ?? {};
    const problems = excess.filter(({ resource }) => resource in guarantees).map(explainOverpromise);
    return {
      role,
      weight,
      share: shares.shareOf(role),
      held: scalars,
      guarantees,
      limits,
      waiting: wants.get(role) ?? 0,
      ...(problems.length > 0 && { problem: problems.join('; ') }),
    };
  });
}

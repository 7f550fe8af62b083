import * as v from 'valibot';
import { type FrameworkInfo, hasCapability, rolesOf } from '../../model/framework.ts';
import { roleNameSchema } from '../../model/role.ts';

/** Why a framework may not have its roles, as Mesos would say it; `mayHave` are those of its credential, all when absent. */
export function whyNotRoles(info: FrameworkInfo, mayHave: readonly string[] | undefined): string | undefined {
  const isMulti = hasCapability(info, 'MULTI_ROLE');
  if (isMulti && info.role !== undefined) {
    return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable";
  }
  if (!isMulti && (info.roles ?? []).length > 0) {
    return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable";
  }
  for (const role of rolesOf(info)) {
    if (!v.is(roleNameSchema, role)) return `Role '${role}' is invalid: expected a name as eng or eng/ci, or *`;
    if (mayHave !== undefined && !mayHave.includes(role)) return `Not authorized to use role '${role}'`;
  }
  return undefined;
}

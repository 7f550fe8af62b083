import * as v from 'valibot';
import { addResources, fromMilli, noResources, type Resources, toMilli } from '../../model/resources.ts';
import { withoutSlots } from '../../model/task-slots.ts';
import { withoutNodePorts } from '../sharing.ts';

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** Mesos' `Resource`, as far as it says how much of what. */
export const mesosResourceSchema = v.object({
  name: v.pipe(v.string(), v.regex(/^[a-z][a-z0-9_-]{0,62}$/, 'expected a resource as cpus, mem, disk or ports')),
  scalar: v.optional(v.object({ value: v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(1e12)) })),
  ranges: v.optional(v.object({ range: v.pipe(v.array(v.object({ begin: whole, end: whole })), v.maxLength(256)) })),
  set: v.optional(v.object({ item: v.pipe(v.array(v.pipe(v.string(), v.maxLength(128))), v.maxLength(256)) })),
  role: v.optional(v.string()),
  allocation_info: v.optional(v.object({ role: v.optional(v.string()) })),
  reservation: v.optional(v.unknown()),
  reservations: v.optional(v.array(v.unknown())),
  revocable: v.optional(v.unknown()),
  shared: v.optional(v.unknown()),
  disk: v.optional(v.unknown()),
});

export type MesosResource = v.InferOutput<typeof mesosResourceSchema>;

/** Mesos' own come first, in the order in which its agents have them. */
const order = ['cpus', 'mem', 'disk', 'ports'];

/** What is not zero, each for `role`; `allocatedTo` is said to frameworks that know of it. Slots are the master's own. */
export function toMesosResources(resources: Resources, role = '*', allocatedTo?: string): object[] {
  const { scalars, ranges, sets } = withoutSlots(resources);
  const shared = { role, ...(allocatedTo !== undefined && { allocation_info: { role: allocatedTo } }) };
  const all = [
    ...Object.entries(scalars).flatMap(([name, milli]) =>
      milli === 0 ? [] : [{ name, type: 'SCALAR', scalar: { value: fromMilli(milli) }, ...shared }],
    ),
    ...Object.entries(ranges).flatMap(([name, range]) =>
      range.length === 0 ? [] : [{ name, type: 'RANGES', ranges: { range }, ...shared }],
    ),
    ...Object.entries(sets).flatMap(([name, item]) =>
      item.length === 0 ? [] : [{ name, type: 'SET', set: { item }, ...shared }],
    ),
  ];
  const rank = (name: string) => (order.includes(name) ? order.indexOf(name) : order.length);
  return all.sort((a, b) => rank(a.name) - rank(b.name));
}

/** The sum of a list, or why it cannot be had here. */
export function fromMesosResources(list: readonly MesosResource[]): Resources | { readonly why: string } {
  let sum = noResources;
  for (const each of list) {
    const { name, scalar, ranges, set } = each;
    for (const kind of ['reservation', 'reservations', 'revocable', 'shared', 'disk'] as const) {
      const value = each[kind];
      if (value !== undefined && !(Array.isArray(value) && value.length === 0)) {
        return { why: `resource ${name}: ${kind} is not supported, only plain resources are` };
      }
    }
    if (scalar === undefined && ranges === undefined && set === undefined) {
      return { why: `resource ${name}: expected scalar, ranges or set` };
    }
    if (ranges?.range.some(({ begin, end }) => begin > end)) return { why: `resource ${name}: expected begin <= end` };
    sum = addResources(sum, {
      scalars: scalar === undefined ? {} : { [name]: toMilli(scalar.value) },
      ranges: ranges === undefined ? {} : { [name]: ranges.range },
      sets: set === undefined ? {} : { [name]: [...new Set(set.item)].sort() },
    });
  }
  return sum;
}

/** What frameworks are offered of what is free: ports that the proxy may publish on are asked for by number, in jobs; slots are counted for them. */
export function offerable(free: Resources): Resources {
  return withoutNodePorts(withoutSlots(free));
}

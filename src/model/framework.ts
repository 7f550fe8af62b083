import * as v from 'valibot';

const text = (max: number) => v.pipe(v.string(), v.maxLength(max));

const idSchema = v.object({ value: v.pipe(v.string(), v.maxLength(255)) });

/** Mesos' labels, of frameworks and tasks. */
export const mesosLabelsSchema = v.object({
  labels: v.optional(
    v.pipe(v.array(v.object({ key: text(253), value: v.optional(text(1024)) })), v.maxLength(256)),
    [],
  ),
});

/** The namespace of all tasks that frameworks launch. */
export const frameworkNamespace = 'frameworks';

/** What a framework says of itself, in Mesos' own words (`FrameworkInfo`); what has no meaning here is left out. */
export const frameworkInfoSchema = v.object({
  user: text(255),
  name: text(255),
  id: v.optional(idSchema),
  /** Seconds for which its tasks run on without it. */
  failover_timeout: v.optional(v.pipe(v.number(), v.finite(), v.minValue(0, 'expected 0 or more seconds')), 0),
  checkpoint: v.optional(v.boolean()),
  /** Of one that is not MULTI_ROLE. */
  role: v.optional(text(255)),
  roles: v.optional(v.pipe(v.array(text(255)), v.maxLength(64))),
  hostname: v.optional(text(255)),
  principal: v.optional(text(255)),
  webui_url: v.optional(text(2048)),
  capabilities: v.optional(v.pipe(v.array(v.object({ type: text(64) })), v.maxLength(64)), []),
  labels: v.optional(mesosLabelsSchema),
});

export type FrameworkInfo = v.InferOutput<typeof frameworkInfoSchema>;

/** The roles for which it takes offers. */
export function rolesOf(info: FrameworkInfo): readonly string[] {
  return hasCapability(info, 'MULTI_ROLE') ? [...new Set(info.roles ?? [])] : [info.role ?? '*'];
}

export function hasCapability({ capabilities }: FrameworkInfo, type: string): boolean {
  return capabilities.some(capability => capability.type === type);
}

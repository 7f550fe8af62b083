import * as v from 'valibot';

/** Node, job, service, namespace, port and label names: `[a-z0-9-]{1,63}`. */
export const nameSchema = v.pipe(
  v.string(),
  v.regex(/^[a-z0-9-]{1,63}$/, issue => `expected a name of 1 to 63 of a-z, 0-9 and "-", got ${quote(issue.input)}`),
);

/** Task ids are `<job>.<namespace>.<suffix>` when made here; a framework of its own may choose any safe word. */
export const taskIdSchema = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/, issue => `expected a task id, got ${quote(issue.input)}`),
);

/** `<name>` in the own namespace, or `<name>.<namespace>`. */
export const serviceNameSchema = v.pipe(
  v.string(),
  v.regex(
    /^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})?$/,
    issue => `expected <service> or <service>.<namespace>, got ${quote(issue.input)}`,
  ),
);

export interface ServiceRef {
  readonly name: string;
  readonly namespace: string;
}

/** Reads `<name>` or `<name>.<namespace>`; the input has passed `serviceNameSchema`. */
export function parseServiceRef(text: string, ownNamespace: string): ServiceRef {
  const [name = '', namespace = ownNamespace] = text.split('.');
  return { name, namespace };
}

/** `<name>.<namespace>`: the key of a service everywhere, the last level of its topic too. */
export function serviceKey(ref: ServiceRef): string {
  return `${ref.name}.${ref.namespace}`;
}

function quote(input: unknown): string {
  const text = String(input);
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

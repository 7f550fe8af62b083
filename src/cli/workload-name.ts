import { MesoliteError } from '../base/errors.ts';
import { type Job, labelsOf } from '../model/document.ts';

/** A program of the mesh as policies see it. */
export interface NamedWorkload {
  readonly job: Job;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Of the service that it is called by; absent when nobody calls it. */
  readonly service?: string;
}

/**
 * The workload that a user means: a job or its service as `hello`, `default/hello` or `hello.default`, or a task by its id. Throws NOT_FOUND,
 * or CONFLICT where several namespaces have one of that name.
 */
export function findWorkload(jobs: readonly Job[], text: string): NamedWorkload {
  const found = jobs.filter(job => isCalled(job, text));
  const [job] = found;
  if (job === undefined) {
    throw new MesoliteError(
      'NOT_FOUND',
      `there is no job, service or task ${text}: expected its name, or <namespace>/<name>`,
    );
  }
  if (found.length > 1) {
    const names = found.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`).join(', ');
    throw new MesoliteError('CONFLICT', `${text} may be ${names}: say which`);
  }
  const { metadata, spec } = job;
  const service = spec.service && (spec.service.name ?? metadata.name);
  return { job, namespace: metadata.namespace, labels: labelsOf(job), ...(service !== undefined && { service }) };
}

/** `td/ns/<namespace>/sa/<account>`: who a caller of that job is. */
export function principalOf({ metadata, spec }: Job, trustDomain: string): string {
  return `${trustDomain}/ns/${metadata.namespace}/sa/${spec.serviceAccount}`;
}

function isCalled({ metadata, spec }: Job, text: string): boolean {
  const { namespace } = metadata;
  return [metadata.name, spec.service?.name ?? metadata.name].some(
    name =>
      text === name ||
      text === `${namespace}/${name}` ||
      text === `${name}.${namespace}` ||
      // the id of one of its tasks
      text.startsWith(`${metadata.name}.${namespace}.`),
  );
}

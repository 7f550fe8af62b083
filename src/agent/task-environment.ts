import { join } from 'node:path';
import { progressName } from '../device/progress-file.ts';
import { variableName } from '../model/job.ts';
import type { TaskSpec } from '../model/task.ts';

export interface NodeEnvironment {
  readonly node: string;
  /** Where programs are looked for: the agent's own PATH. */
  readonly path: string;
  readonly outboundPort: number;
  /** What proves to the outbound proxy that a task calls. */
  readonly secretOf: (task: string) => string;
  readonly home: string;
}

/** All that a task finds in its environment: defaults, what its job sets, and on top what only the agent knows. */
export function environmentOf(spec: TaskSpec, here: NodeEnvironment): Readonly<Record<string, string>> {
  const proxy = `http://${encodeURIComponent(spec.id)}:${here.secretOf(spec.id)}@127.0.0.1:${here.outboundPort}`;
  const [first] = spec.ports;
  return {
    PATH: here.path,
    HOME: here.home,
    LANG: 'C.UTF-8',
    ...spec.env,
    ...(first && { PORT: String(first.number) }),
    ...Object.fromEntries(spec.ports.map(port => [`PORT_${variableName(port.name)}`, String(port.number)])),
    ...Object.fromEntries((spec.localPorts ?? []).flatMap(variablesOf)),
    HTTP_PROXY: proxy,
    http_proxy: proxy,
    NO_PROXY: '127.0.0.1,localhost',
    no_proxy: '127.0.0.1,localhost',
    MESOLITE_NODE: here.node,
    MESOLITE_TASK: spec.id,
    MESOLITE_JOB: spec.job,
    MESOLITE_NAMESPACE: spec.namespace,
    MESOLITE_PROGRESS: join(here.home, progressName),
  };
}

/** Where a program finds the port that leads to an upstream. */
function variablesOf({ service, port }: NonNullable<TaskSpec['localPorts']>[number]): [string, string][] {
  const name = `UPSTREAM_${variableName(service)}`;
  return [
    [`${name}_PORT`, String(port)],
    [`${name}_ADDR`, `127.0.0.1:${port}`],
  ];
}

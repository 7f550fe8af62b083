type Environment = Readonly<Record<string, string>>;

/** What the placeholders of an environment are filled from, once a task has its node and its ports. */
export interface TemplateFacts {
  readonly node: string;
  /** The node's labels and attributes, as constraints see them. */
  readonly labels: Readonly<Record<string, string>>;
  readonly job: string;
  readonly namespace: string;
  readonly task: string;
  /** The batch task's own name, or the instance's number. */
  readonly name: string;
  readonly ports: Readonly<Record<string, number>>;
}

/** `{{ node.labels.site }}`; a backslash before it leaves it as it stands. */
const placeholder = /(\\?)\{\{([^{}]*)\}\}/g;
const plainNames: ReadonlySet<string> = new Set(['node.name', 'job.name', 'job.namespace', 'task.id', 'task.name']);
const labelPrefix = 'node.labels.';
const portPrefix = 'ports.';

/** What cannot be filled in, with what can: of the first such placeholder of an environment. */
export function templateProblem(env: Environment, ports: readonly { readonly name: string }[]): string | undefined {
  for (const [variable, text] of Object.entries(env)) {
    for (const name of namesIn(text)) {
      if (plainNames.has(name) || /^node\.labels\.[A-Za-z0-9][A-Za-z0-9._/-]{0,252}$/.test(name)) continue;
      if (name.startsWith(portPrefix) && ports.some(port => `${portPrefix}${port.name}` === name)) continue;
      const known = [...plainNames, 'node.labels.<label>', ...ports.map(port => `${portPrefix}${port.name}`)];
      return `env.${variable}: {{ ${name} }} is not known: expected one of ${known.join(', ')}, or \\{{ for the text itself`;
    }
  }
  return undefined;
}

/** The labels that a node must have for the environment to be filled in. */
export function labelsInTemplates(env: Environment): string[] {
  const names = Object.values(env).flatMap(namesIn);
  return [...new Set(names.flatMap(name => (name.startsWith(labelPrefix) ? [name.slice(labelPrefix.length)] : [])))];
}

/** The environment with its placeholders filled in. */
export function fillTemplates(env: Environment, facts: TemplateFacts): Record<string, string> {
  const fill = (text: string) =>
    text.replace(placeholder, (whole, backslash: string, name: string) =>
      backslash === '' ? factNamed(name.trim(), facts) : whole.slice(1),
    );
  return Object.fromEntries(Object.entries(env).map(([variable, text]) => [variable, fill(text)]));
}

function namesIn(text: string): string[] {
  return [...text.matchAll(placeholder)].flatMap(([, backslash, name = '']) => (backslash === '' ? [name.trim()] : []));
}

function factNamed(name: string, facts: TemplateFacts): string {
  if (name.startsWith(labelPrefix)) return facts.labels[name.slice(labelPrefix.length)] ?? '';
  if (name.startsWith(portPrefix)) return String(facts.ports[name.slice(portPrefix.length)] ?? '');
  switch (name) {
    case 'node.name':
      return facts.node;
    case 'job.name':
      return facts.job;
    case 'job.namespace':
      return facts.namespace;
    case 'task.id':
      return facts.task;
    default:
      return facts.name;
  }
}

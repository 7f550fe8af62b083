import { type Command, Option } from 'commander';
import { MesoliteError } from '../base/errors.ts';
import {
  credentialListSchema,
  eventListSchema,
  frameworkListSchema,
  jobListSchema,
  joinListSchema,
  joinTokenListSchema,
  nodeListSchema,
  policyListSchema,
  roleListSchema,
  serviceListSchema,
  taskDetailSchema,
  taskListSchema,
} from '../model/api.ts';
import { artifactListSchema } from '../model/artifact.ts';
import { certificateListSchema } from '../model/certificate.ts';
import { eventKinds } from '../model/event.ts';
import { secretListSchema } from '../model/secret.ts';
import type { ApiClient } from './api-client.ts';
import { parseName, parseSince, parseWhole } from './arguments.ts';
import { artifactColumns } from './artifact-columns.ts';
import { certificateColumns, eventColumns, policyColumns, serviceColumns } from './columns.ts';
import { joinColumns, nodeColumns, tokenColumns } from './node-columns.ts';
import { type OutputOptions, printAs, printRows, withOutput } from './output.ts';
import { secretColumns } from './secret-columns.ts';
import { openSession } from './session.ts';
import { print, type Shell } from './shell.ts';
import type { Column } from './table.ts';
import {
  credentialColumns,
  frameworkColumns,
  historyColumns,
  jobColumns,
  roleColumns,
  taskColumns,
  taskLine,
} from './task-columns.ts';
import { findTask } from './task-name.ts';

interface GetOptions extends OutputOptions {
  readonly namespace?: string;
  readonly job?: string;
}

interface EventOptions extends OutputOptions {
  readonly since?: number;
  readonly node?: string;
  readonly kind?: string;
  readonly limit: number;
}

/** A list of the API: what its rows are called, and how to ask for them. */
interface Listing<Row> {
  readonly nouns: string;
  readonly columns: readonly Column<Row>[];
  readonly nameOf: (row: Row) => string;
  readonly fetch: (api: ApiClient, options: GetOptions) => Promise<readonly Row[]>;
}

/** `mesolite get nodes|jobs|tasks|roles|services|policies|frameworks|credentials|artifacts|joins|secrets|tokens [NAME]` and `mesolite get certificates|events` */
export function addGet(program: Command, shell: Shell): void {
  const get = program
    .command('get')
    .description(
      'list nodes, jobs, tasks, roles, services, policies, frameworks, credentials, artifacts, certificates, events, joins, secrets or tokens',
    );
  addListing(get, shell, 'node', {
    nouns: 'nodes',
    columns: nodeColumns,
    nameOf: node => node.node,
    fetch: async api => (await api.get('/v1/nodes', nodeListSchema)).nodes,
  });
  addListing(get, shell, 'job', {
    nouns: 'jobs',
    columns: jobColumns,
    nameOf: job => job.name,
    fetch: async (api, { namespace }) =>
      (await api.get('/v1/jobs', jobListSchema)).jobs.filter(job => isIn(namespace, job)),
  }).option('-n, --namespace <name>', 'only this namespace', parseName);
  addListing(get, shell, 'role', {
    nouns: 'roles',
    columns: roleColumns,
    nameOf: role => role.role,
    fetch: async api => (await api.get('/v1/roles', roleListSchema)).roles,
  });
  addListing(get, shell, 'framework', {
    nouns: 'frameworks',
    columns: frameworkColumns,
    nameOf: framework => framework.name,
    fetch: async api => (await api.get('/v1/frameworks', frameworkListSchema)).frameworks,
  });
  addListing(get, shell, 'credential', {
    nouns: 'credentials',
    columns: credentialColumns,
    nameOf: credential => credential.name,
    fetch: async api => (await api.get('/v1/framework-credentials', credentialListSchema)).credentials,
  });
  addListing(get, shell, 'artifact', {
    nouns: 'artifacts',
    columns: artifactColumns,
    nameOf: artifact => artifact.address,
    fetch: async api => (await api.get('/v1/artifacts', artifactListSchema)).artifacts,
  });
  addListing(get, shell, 'join', {
    nouns: 'joins',
    columns: joinColumns,
    nameOf: join => join.id,
    fetch: async api => (await api.get('/v1/joins', joinListSchema)).joins,
  });
  addListing(get, shell, 'token', {
    nouns: 'tokens',
    columns: tokenColumns,
    nameOf: token => token.id,
    fetch: async api => (await api.get('/v1/join-tokens', joinTokenListSchema)).tokens,
  });
  addListing(get, shell, 'secret', {
    nouns: 'secrets',
    columns: secretColumns,
    nameOf: secret => secret.name,
    fetch: async (api, { namespace }) =>
      (await api.get('/v1/secrets', secretListSchema)).secrets.filter(secret => isIn(namespace, secret)),
  }).option('-n, --namespace <name>', 'only this namespace', parseName);
  addTasks(get, shell);
  addEvents(get, shell);
  addCertificates(get, shell);
  addListing(get, shell, 'service', {
    nouns: 'services',
    columns: serviceColumns,
    nameOf: service => service.name,
    fetch: async (api, { namespace }) =>
      (await api.get('/v1/services', serviceListSchema)).services.filter(service => isIn(namespace, service)),
  }).option('-n, --namespace <name>', 'only this namespace', parseName);
  addListing(get, shell, 'policy', {
    nouns: 'policies',
    columns: policyColumns,
    nameOf: policy => policy.name,
    fetch: async (api, { namespace }) =>
      (await api.get('/v1/policies', policyListSchema)).policies.filter(policy => isIn(namespace, policy)),
  }).option('-n, --namespace <name>', 'only this namespace', parseName);
}

function addListing<Row>(get: Command, shell: Shell, noun: string, listing: Listing<Row>): Command {
  const { nouns, columns, nameOf, fetch } = listing;
  const command = get.command(`${nouns} [name]`).alias(noun).description(`list ${nouns}, or the one of that name`);
  return withOutput(command, ['table', 'wide', 'json', 'yaml']).action(
    async (name: string | undefined, options: GetOptions) => {
      const all = await fetch(openSession(shell, command), options);
      const rows = name === undefined ? all : all.filter(row => nameOf(row) === name);
      if (name !== undefined && rows.length === 0) throw new MesoliteError('NOT_FOUND', `there is no ${noun} ${name}`);
      printAs(shell, options.output, { [nouns]: rows }, () => printRows(shell, options.output, columns, rows, nouns));
    },
  );
}

function addTasks(get: Command, shell: Shell): void {
  const command = get
    .command('tasks [task]')
    .alias('task')
    .description('list tasks, or one with its history: an id, the beginning of one, or a job of one task')
    .option('-n, --namespace <name>', 'only this namespace', parseName)
    .option('--job <name>', 'only the tasks of this job', parseName)
    .option('-w, --watch', 'and then each that changes, until Ctrl-C');
  withOutput(command, ['table', 'wide', 'json', 'yaml']).action(
    async (name: string | undefined, options: GetOptions & { readonly watch?: true }) => {
      const api = openSession(shell, command);
      if (options.watch) return watchTasks(api, shell, options);
      if (name !== undefined) return showTask(api, shell, name, options);
      const { tasks } = await api.get(
        `/v1/tasks${queryOf({ namespace: options.namespace, job: options.job })}`,
        taskListSchema,
      );
      printAs(shell, options.output, { tasks }, () => printRows(shell, options.output, taskColumns, tasks, 'tasks'));
    },
  );
}

function addEvents(get: Command, shell: Shell): void {
  const command = get
    .command('events')
    .alias('event')
    .description('list what happened in the fleet, newest last')
    .option('--since <time>', 'only from then on: 30m, 1h, 7d ago, or a date', parseSince(shell.now))
    .option('--node <id>', 'only of this node', parseName)
    .addOption(new Option('--kind <kind>', 'only of this kind').choices(eventKinds))
    .option('--limit <number>', 'at most so many', parseWhole(1, 10_000), 200);
  withOutput(command).action(async ({ output, ...filter }: EventOptions) => {
    const answer = await openSession(shell, command).get(`/v1/events${queryOf(filter)}`, eventListSchema);
    printAs(shell, output, answer, () => printRows(shell, output, eventColumns, answer.events, 'events'));
  });
}

function addCertificates(get: Command, shell: Shell): void {
  const command = get
    .command('certificates')
    .alias('certificate')
    .description('list certificates with their end, newest first')
    .option('--node <id>', 'only those given to this node', parseName)
    .option('--all', 'also what was replaced, revoked, or has expired');
  withOutput(command, ['table', 'wide', 'json', 'yaml']).action(
    async ({ output, node, all }: OutputOptions & { readonly node?: string; readonly all?: true }) => {
      const query = queryOf({ node, all: all && 'true' });
      const answer = await openSession(shell, command).get(`/v1/certificates${query}`, certificateListSchema);
      const { certificates } = answer;
      printAs(shell, output, answer, () => printRows(shell, output, certificateColumns, certificates, 'certificates'));
    },
  );
}

/** A line for each change. */
async function watchTasks(api: ApiClient, shell: Shell, { namespace, job, output }: GetOptions): Promise<void> {
  let width = 0;
  await api.watch(`/v1/tasks/watch${queryOf({ namespace, job })}`, taskListSchema, ({ tasks }) => {
    for (const task of tasks) width = Math.max(width, task.id.length);
    for (const task of tasks) {
      if (output === 'json' || output === 'yaml') print(shell, JSON.stringify(task));
      else print(shell, taskLine(task, width, shell.now()));
    }
  });
}

async function showTask(api: ApiClient, shell: Shell, name: string, options: GetOptions): Promise<void> {
  const id = await findTask(api, name, options.namespace);
  const detail = await api.get(`/v1/tasks/${encodeURIComponent(id)}`, taskDetailSchema);
  printAs(shell, options.output, detail, () => {
    printRows(shell, options.output, taskColumns, [detail.task], 'tasks');
    print(shell, '');
    printRows(shell, options.output, historyColumns, detail.history, 'reports on it yet');
  });
}

function isIn(namespace: string | undefined, row: { readonly namespace: string }): boolean {
  return namespace === undefined || row.namespace === namespace;
}

function queryOf(filter: Readonly<Record<string, string | number | undefined>>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filter)) if (value !== undefined) query.set(name, String(value));
  return query.size === 0 ? '' : `?${query}`;
}

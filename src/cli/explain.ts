import { type Command, Option } from 'commander';
import { MesoliteError } from '../base/errors.ts';
import { decode } from '../base/shape.ts';
import { type TaskView, taskListSchema } from '../model/api.ts';
import { defaultMesh } from '../model/policy.ts';
import { type Question, questionSchema } from '../model/policy-case.ts';
import { endpointName } from '../model/task.ts';
import { type Explanation, explain } from '../policy/explain.ts';
import type { ApiClient } from './api-client.ts';
import { collect, parseWhole } from './arguments.ts';
import { AnsweredNo, usageError } from './exit-codes.ts';
import { addExplainTask } from './explain-task.ts';
import { documentsOf, fetchMesh, jobsIn, type MeshState, readMeshFiles, withDocuments } from './mesh-documents.ts';
import { type MeshOptions, meshOf, withMeshOptions } from './mesh-options.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';
import { type Column, renderTable } from './table.ts';
import { findWorkload, type NamedWorkload, principalOf } from './workload-name.ts';

interface ExplainOptions extends MeshOptions, OutputOptions {
  readonly from: string;
  readonly to: string;
  readonly file: readonly string[];
  readonly offline?: true;
  readonly host?: string;
  readonly port?: number;
  readonly header: readonly string[];
  readonly claim: readonly string[];
  readonly ip?: string;
  readonly protocol: 'http' | 'http2' | 'grpc' | 'tcp';
  readonly sni?: string;
}

/** What `--from` is when no certificate is shown. */
const outside = 'outside';

type Given = Omit<ExplainOptions, 'from' | 'to'> & Partial<Pick<ExplainOptions, 'from' | 'to'>>;

/** `mesolite explain --from A --to B GET /path` */
export function addExplain(program: Command, shell: Shell): void {
  const command = program
    .command('explain')
    .description(
      'tell whether a call is allowed, by which rule, and why the other rules do not match; 1 when it is denied',
    )
    .argument('[method]', 'of the request', 'GET')
    .argument('[path]', 'of the request', '/')
    .option(
      '--from <workload>',
      `who calls: a job, service or task, a principal, or "${outside}" for one without a certificate`,
    )
    .option('--to <workload>', 'who is called: a job, service or task')
    .option('-f, --file <path>', 'what if these were applied: file, directory or -; may be repeated', collect, [])
    .option('--offline', 'ask no master: the files are all there is')
    .option('--host <name>', 'of the request (default: that of the service)')
    .option(
      '--port <number>',
      'on which it is called, as policies see it (default: that of a running task)',
      parseWhole(1, 65_535),
    )
    .option('--header <name=value>', 'of the request; may be repeated', collect, [])
    .option(
      '--claim <name=value>',
      'of a token that is signed and in time; a value may be JSON; may be repeated',
      collect,
      [],
    )
    .option('--ip <address>', 'from which it is called')
    .addOption(
      new Option('--protocol <name>', 'what is spoken').choices(['http', 'http2', 'grpc', 'tcp']).default('http'),
    )
    .option('--sni <name>', 'server name that the caller asks for');
  withOutput(withMeshOptions(command)).action(async (method: string, path: string, given: Given) => {
    const { from, to } = given;
    if (from === undefined || to === undefined) throw usageError('expected --from and --to of a call, or: task ID');
    if (!/^[/*]/.test(path))
      throw usageError(`expected a path that begins with "/", got ${path}: did you mean /${path}?`);
    const options: ExplainOptions = { ...given, from, to };
    const api = options.offline === true ? undefined : openSession(shell, command);
    const state = await stateOf(shell, api, options);
    const question = await ask(state, api, { ...options, method, path });
    const answer = explain(
      {
        ...state.mesh,
        policies: documentsOf(state.documents, 'AuthorizationPolicy'),
        peerAuthentications: documentsOf(state.documents, 'PeerAuthentication'),
        requestAuthentications: documentsOf(state.documents, 'RequestAuthentication'),
      },
      question,
    );
    printAs(shell, options.output, { ...answer, ...question }, () => show(shell, answer, question));
    if (answer.verdict === 'deny') throw new AnsweredNo();
  });
  addExplainTask(command, shell);
}

async function stateOf(shell: Shell, api: ApiClient | undefined, options: ExplainOptions): Promise<MeshState> {
  const known = api === undefined ? { mesh: meshOf(options), documents: new Map() } : await fetchMesh(api, options);
  if (options.file.length === 0) return known;
  const files = await readMeshFiles(options.file, shell, known.mesh);
  return { ...known, documents: withDocuments(known.documents, files) };
}

interface Asked extends ExplainOptions {
  readonly method: string;
  readonly path: string;
}

/** The call that is meant, with what is known of both sides where the command line does not say it. */
async function ask({ mesh, documents }: MeshState, api: ApiClient | undefined, asked: Asked): Promise<Question> {
  const jobs = jobsIn(documents);
  const called = findWorkload(jobs, asked.to);
  const task = await runningTask(api, called, asked.to);
  const principal = callerOf(asked.from, jobs, mesh.trustDomain ?? defaultMesh.trustDomain);
  const port = asked.port ?? task?.ports.find(({ name }) => name === called.job.spec.service?.port)?.number;
  const isTcp = asked.protocol === 'tcp';
  const host = asked.host ?? (called.service && `${called.service}.${called.namespace}.mesh`);
  const claims = asked.claim.length === 0 ? undefined : Object.fromEntries(asked.claim.map(readClaim));
  return decode(
    questionSchema,
    {
      from: { ...(principal !== undefined && { principal }), ip: asked.ip },
      to: {
        namespace: called.namespace,
        labels: { ...called.labels },
        port,
        sni: asked.sni ?? serverNameOf(task, called, principal),
      },
      request: {
        protocol: asked.protocol,
        ...(!isTcp && {
          method: asked.method,
          path: asked.path,
          host,
          claims,
          headers: Object.fromEntries(asked.header.map(readPair)),
        }),
      },
    },
    'the call',
  );
}

/** Undefined for a caller in plain text. */
function callerOf(from: string, jobs: readonly NamedWorkload['job'][], trustDomain: string): string | undefined {
  if (from === outside) return undefined;
  return from.includes('/ns/') ? from : principalOf(findWorkload(jobs, from).job, trustDomain);
}

/** One that is called for the job: the one that was named, or any. */
async function runningTask(
  api: ApiClient | undefined,
  { job }: NamedWorkload,
  text: string,
): Promise<TaskView | undefined> {
  if (api === undefined) return undefined;
  const { name, namespace } = job.metadata;
  const { tasks } = await api.get(`/v1/tasks?job=${name}&namespace=${namespace}`, taskListSchema);
  const running = tasks.filter(task => task.state === 'TASK_RUNNING');
  return running.find(task => task.id.startsWith(text)) ?? running[0];
}

/** What a proxy of the mesh asks for. */
function serverNameOf(
  task: TaskView | undefined,
  { service, namespace }: NamedWorkload,
  principal: string | undefined,
): string | undefined {
  if (task === undefined || service === undefined || principal === undefined) return undefined;
  return endpointName({ id: task.id, namespace, service: { name: service, port: '' } });
}

function readPair(text: string): [string, string] {
  const at = text.search(/[=:]/);
  if (at < 1) throw new MesoliteError('INVALID_INPUT', `expected <name>=<value>, got ${text}`);
  return [text.slice(0, at), text.slice(at + 1).trim()];
}

/** A list or an object is written as JSON; nested claims too. */
function readClaim(text: string): [string, unknown] {
  const [name, value] = readPair(text);
  try {
    return [name, /^[[{]/.test(value) ? JSON.parse(value) : value];
  } catch {
    throw new MesoliteError('INVALID_INPUT', `--claim ${name}: not JSON: ${value}`);
  }
}

interface Line {
  readonly policy: string;
  readonly action: string;
  readonly rule: string;
  readonly matches: string;
  readonly why: string;
}

const columns: readonly Column<Line>[] = [
  { head: 'POLICY', cell: line => line.policy },
  { head: 'ACTION', cell: line => line.action },
  { head: 'RULE', cell: line => line.rule, align: 'right' },
  { head: 'MATCHES', cell: line => line.matches },
  { head: 'WHY NOT', cell: line => line.why },
];

function show(shell: Shell, answer: Explanation, { from, to, request }: Question): void {
  const said = request.protocol === 'tcp' ? 'tcp' : `${request.method} ${request.host ?? ''}${request.path}`;
  print(shell, `${answer.verdict}: ${answer.because}`);
  print(shell, '');
  print(shell, `request   ${said}`);
  print(
    shell,
    `from      ${from.principal ?? 'a caller without a certificate'}${from.ip === undefined ? '' : ` at ${from.ip}`}`,
  );
  print(
    shell,
    `to        ${to.namespace}, ${Object.entries(to.labels)
      .map(pair => pair.join('='))
      .join(', ')}${to.port === undefined ? '' : `, port ${to.port}`}`,
  );
  if (answer.plaintext) print(shell, `mtls      ${answer.mtls}`);
  const token = tokenText(answer, request);
  if (token !== undefined) print(shell, `token     ${token}`);
  if (answer.dryRun !== undefined) {
    print(shell, `dry run   would ${answer.dryRun.got} it, by ${answer.dryRun.rule}`);
  }
  const lines = answer.policies.flatMap(linesOf);
  if (lines.length === 0) {
    remark(shell, 'there is no AuthorizationPolicy');
    return;
  }
  print(shell, '');
  print(shell, renderTable(columns, lines, { wide: false, now: shell.now() }));
}

/** Undefined where neither the workload nor the call has to do with tokens. */
function tokenText({ token }: Explanation, { protocol, claims }: Question['request']): string | undefined {
  if (protocol === 'tcp') return undefined;
  if (token.issuers.length === 0) {
    return claims && 'is not read: no RequestAuthentication selects the workload, and the claims count for nothing';
  }
  const own = token.refused ? 'refused' : token.claims ? `valid, of ${token.claims.iss}` : 'none';
  return `${own}; taken here from ${token.issuers.join(', ')}; one that is not valid is answered with 401`;
}

function linesOf({ policy, action, dryRun, notFor, rules }: Explanation['policies'][number]): Line[] {
  const head = { policy, action: dryRun ? `${action} (dry run)` : action };
  if (notFor !== undefined) return [{ ...head, rule: '-', matches: '-', why: notFor }];
  if (rules.length === 0) return [{ ...head, rule: '-', matches: 'no', why: 'it has no rules' }];
  return rules.map(({ rule, matches, why }) => ({
    ...head,
    rule: String(rule),
    matches: matches ? 'yes' : 'no',
    why: why.join('; '),
  }));
}

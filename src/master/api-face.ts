import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { decode } from '../base/shape.ts';
import type { NodeView, TaskView } from '../model/api.ts';
import { decodeDocument, type Job, type OperatorDocument } from '../model/document.ts';
import { drainSchema } from '../model/drain.ts';
import { isTerminal, liveStates } from '../model/task.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import type { ApiFace, AuditQuery } from './api/face.ts';
import type { CertificateBook } from './certificate-book.ts';
import type { Documents } from './documents.ts';
import type { Events } from './events.ts';
import type { Execs } from './execs.ts';
import type { Fleet } from './fleet.ts';
import type { JobUpdates } from './job-updates.ts';
import type { Jobs } from './jobs.ts';
import type { TokenDesk } from './join-tokens.ts';
import type { LogFollowers } from './log-followers.ts';
import type { Logs } from './logs.ts';
import type { Mesos } from './mesos/mesos.ts';
import type { Metrics } from './metrics.ts';
import type { Operators } from './operators.ts';
import type { Policies } from './policies.ts';
import { viewRoles } from './role-views.ts';
import type { Roles } from './roles.ts';
import type { Rollouts } from './rollouts.ts';
import type { Rounds } from './rounds.ts';
import type { Services } from './services.ts';
import type { Shadows } from './shadows.ts';
import type { TaskFeed } from './task-feed.ts';
import type { TaskProgress } from './task-progress.ts';
import type { Trust } from './trust.ts';
import { noteOnTask, viewJob, viewNode, viewPlan, viewTask } from './views.ts';

/** Answers the API from the master's parts. */
export function makeApiFace(parts: {
  readonly version: string;
  readonly store: Store;
  readonly operators: Operators;
  readonly documents: Documents;
  readonly fleet: Fleet;
  readonly drainNode: Fleet['drain'];
  readonly takeOver: ApiFace['takeOver'];
  readonly deleteNode: (node: string, reason: string) => Promise<void>;
  readonly jobs: Jobs;
  readonly updates: JobUpdates;
  readonly rounds: Rounds;
  readonly roles: Pick<Roles, 'policies'>;
  readonly progress: Pick<TaskProgress, 'of'>;
  readonly feed: Pick<TaskFeed, 'watch'>;
  readonly mesos: Pick<Mesos, 'view'>;
  readonly services: Services;
  readonly policies: Policies;
  readonly shadows: Shadows;
  readonly rollouts: Rollouts;
  readonly logs: Logs;
  readonly followers: LogFollowers;
  readonly execs: Execs;
  readonly secrets: ApiFace['secrets'];
  readonly events: Pick<Events, 'query'>;
  readonly book: CertificateBook;
  readonly trust: Trust;
  readonly metrics: Metrics;
  readonly tokens: TokenDesk;
  readonly clock: Clock;
  readonly certifyBroker: ApiFace['certifyBroker'];
  readonly nodeOf: ApiFace['nodeOf'];
  readonly artifacts: ApiFace['artifacts'];
}): ApiFace {
  const { version, store, operators, documents, fleet, jobs, rounds, services, policies, shadows, logs } = parts;
  const { book, trust, tokens, clock, progress } = parts;

  async function view(tasks: readonly TaskRecord[]): Promise<TaskView[]> {
    const jobOf = new Map((await jobs.list()).map(job => [`${job.metadata.namespace}/${job.metadata.name}`, job]));
    return tasks.map(task => viewOne(task, jobOf.get(`${task.namespace}/${task.job}`)));
  }

  function viewOne(task: TaskRecord, job: Job | undefined): TaskView {
    return viewTask(task, job, {
      waiting: rounds.whyWaiting(task.id),
      note: noteOf(task),
      progress: progress.of(task),
    });
  }

  /** What is known of a task from its node. */
  function noteOf({ node: id, type }: TaskRecord): string | undefined {
    const node = id === null ? undefined : fleet.get(id);
    return node && noteOnTask(node, type, clock.now());
  }

  /** How many tasks are on `node` that a drain has leave it. */
  async function leavingFrom(node: string): Promise<number> {
    const live = await store.tasks.list({ node, states: liveStates });
    return live.filter(({ id }) => !rounds.isOfNode(id)).length;
  }

  async function findTask(id: string): Promise<TaskRecord> {
    const task = await store.tasks.get(id);
    if (task === undefined) throw new MesoliteError('NOT_FOUND', `there is no task ${id}`);
    return task;
  }

  async function nodeOf(task: string): Promise<string> {
    const { node } = await findTask(task);
    if (node === null) throw new MesoliteError('CONFLICT', `task ${task} has not been placed yet`);
    return node;
  }

  return {
    version,
    authenticate: operators.authenticate,
    nodeOf: parts.nodeOf,
    artifacts: parts.artifacts,
    apply: documents.apply,
    remove: documents.remove,
    documents: documents.list,
    rollouts: parts.rollouts.list,
    commandRollout: parts.rollouts.command,
    commandUpdate: parts.updates.command,
    createJoinToken: tokens.create,
    joinTokens: tokens.list,
    revokeJoinToken: tokens.revoke,
    async joins() {
      const waiting = await store.joinRequests.list(clock.now());
      return waiting.map(({ tokenId: token, keyPin: _, ...join }) => ({ ...join, token }));
    },
    approveJoin: id => store.joinRequests.decide(id, { state: 'approved', reason: null }),
    denyJoin: (id, reason) => store.joinRequests.decide(id, { state: 'denied', reason: reason ?? null }),
    certifyBroker: parts.certifyBroker,
    services: services.list,
    secrets: parts.secrets,
    events: query => parts.events.query(query),
    certificates: book.list,
    revoke: book.revoke,
    metrics: async () => ({ contentType: parts.metrics.contentType, text: await parts.metrics.text() }),
    authority: trust.view,
    async rotateAuthority(request) {
      await (request.what === 'issuing' ? trust.rotateIssuing() : trust.rotateRoot(request));
      return trust.view();
    },
    async retireAuthority(options) {
      await trust.retire(options);
      return trust.view();
    },
    async nodes() {
      const live = await store.tasks.list({ states: liveStates });
      return fleet.list().flatMap((node): NodeView[] => {
        const tasks = live.filter(task => task.node === node.id);
        const systemTasks = tasks.filter(({ id }) => rounds.isOfNode(id)).length;
        const seen = viewNode(node, rounds.freeOn(node.id), { tasks: tasks.length, systemTasks });
        return seen === undefined ? [] : [seen];
      });
    },
    frameworks: parts.mesos.view,
    createCredential: operators.addFramework,
    credentials: operators.frameworkCredentials,
    removeCredential: operators.removeFramework,
    async drain(node, { from = clock.now(), until = null, deadlineMs }) {
      const endTasksAt = deadlineMs === undefined ? null : from + deadlineMs;
      const drain = decode(drainSchema, { from, until, endTasksAt }, 'drain');
      await parts.drainNode(node, drain);
      return { node, drain, tasks: await leavingFrom(node) };
    },
    async undrain(node) {
      await parts.drainNode(node, null);
      return { node, drain: null, tasks: await leavingFrom(node) };
    },
    async removeNode(id, { force, operator }) {
      const node = fleet.get(id);
      if (node === undefined) throw new MesoliteError('NOT_FOUND', `there is no node ${id}`);
      if (node.state === 'ready' && !force) {
        throw new MesoliteError(
          'CONFLICT',
          `node ${id} is up: drain it and stop its agent first; with force its tasks run on there until it joins anew`,
        );
      }
      await parts.deleteNode(id, `${operator} deleted it`);
      return { removed: true };
    },
    takeOver: parts.takeOver,
    async roles() {
      const waiting = await store.tasks.list({ states: ['TASK_STAGING'] });
      const roles = waiting.flatMap(({ node, role, stopping }) => (node === null && !stopping ? [role] : []));
      return viewRoles(rounds.ledger(), parts.roles.policies(), roles);
    },
    async jobs() {
      const [tasks, documents] = [await store.tasks.list(), await store.documents.list('Job')];
      const createdAt = new Map(documents.map(row => [`${row.namespace}/${row.name}`, row.createdAt]));
      return (await jobs.list()).map(job => {
        const { name, namespace } = job.metadata;
        const own = tasks.filter(task => task.job === name && task.namespace === namespace);
        return viewJob(
          job,
          own,
          own.map(task => viewOne(task, job)),
          { createdAt: createdAt.get(`${namespace}/${name}`) ?? 0, now: clock.now() },
          parts.updates.view(job),
        );
      });
    },
    async tasks({ job, namespace }) {
      return view(await store.tasks.list({ ...(job && { job }), ...(namespace && { namespace }) }));
    },
    watchTasks({ job, namespace }, tell, signal) {
      parts.feed.watch(async ids => {
        const found =
          ids?.length === 0
            ? []
            : await store.tasks.list({ ...(job && { job }), ...(namespace && { namespace }), ...(ids && { ids }) });
        tell(await view(found));
      }, signal);
    },
    async task(id) {
      const record = await findTask(id);
      const [task] = await view([record]);
      if (task === undefined) throw new MesoliteError('INTERNAL', `task ${id} cannot be shown`);
      return { task, history: await store.tasks.history(id) };
    },
    async plan(sent) {
      const wanted = sent.map((body, i) => decodeDocument(body, `document ${i + 1}`)).filter(isJob);
      const now = clock.now();
      const tasks = await jobs.preview(wanted);
      const plan = await rounds.preview(
        tasks.map(({ pending }) => pending),
        wanted,
      );
      return { now, tasks: viewPlan(tasks, plan, now) };
    },
    async explainTask(id) {
      const task = await findTask(id);
      const { state, node } = task;
      const waiting = node === null && !isTerminal(state) ? await rounds.explain(id) : undefined;
      const { why = noteOf(task) ?? null, expected = null, reasons = [] } = waiting ?? {};
      return { task: id, state, node, why, expected, nodes: [...reasons] };
    },
    taskLog: async (query, signal) => logs.ask(await nodeOf(query.task), query, signal),
    followLog: async (query, onFrame, signal) =>
      parts.followers.follow(await nodeOf(query.task), query, onFrame, signal),
    exec: async (request, onFrame, signal) => parts.execs.run(await nodeOf(request.task), request, onFrame, signal),
    async policies() {
      const views = await policies.view(fleet.list().flatMap(node => (node.state === 'ready' ? [node.id] : [])));
      return views.map(view => ({ ...view, shadow: shadows.of(view) }));
    },
    mesh() {
      const { keySets: _, ...mesh } = policies.settings;
      return mesh;
    },
    audit: query => queryAudit(query),
    auditChain: query => store.audit.chain(query),
  };

  async function queryAudit({ principal, limit, ...query }: AuditQuery) {
    const given = Object.entries({ ...query, source: principal }).filter(([, value]) => value !== undefined);
    return store.audit.query({ ...Object.fromEntries(given), limit });
  }
}

function isJob(document: OperatorDocument): document is Job {
  return document.kind === 'Job';
}

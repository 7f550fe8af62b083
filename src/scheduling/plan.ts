import { secondMs } from '../base/clock.ts';
import type { Resources } from '../model/resources.ts';
import { sharesOf } from './allocator.ts';
import { type Estimates, estimate, type Question, remainingMs, stagingMs } from './estimates.ts';
import type { RolePolicies } from './fairness.ts';
import { accountOf, applyEvents, type Ledger, type LedgerEvent, type NodeAccount, nodeOf } from './ledger.ts';
import {
  type Holding,
  type Launch,
  makeOffers,
  type NodeState,
  type Offers,
  type Preemption,
  type Scheduler,
  type SchedulingContext,
  type Search,
  type Waiting,
} from './offers.ts';
import { jobKey, type PendingTask } from './pending.ts';
import type { Roster, SchedulingNode } from './roster.ts';

/** A task that holds resources in the ledger, as the scheduler wants to know it. */
export interface RunningTask
  extends Pick<
    PendingTask,
    'job' | 'namespace' | 'type' | 'class' | 'priority' | 'role' | 'expectedMs' | 'apartFrom' | 'maxRunMs' | 'artifacts'
  > {
  /** Milliseconds since 1970; null until it runs. */
  readonly startedAt: number | null;
  readonly rescheduleAfterMs?: number | undefined;
  /** It has been told to end, for which it has `killGraceMs`. */
  readonly stopping?: boolean | undefined;
  readonly killGraceMs?: number | undefined;
  /** False for one that is never ended for another. */
  readonly preemptible?: boolean | undefined;
}

/** All that one round looks at; nothing in it is changed. */
export interface RoundInput {
  /** A word that makes the ids of this round's offers unique. */
  readonly round: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly ledger: Ledger;
  /** A node that the ledger does not know is left out. */
  readonly roster: Roster;
  readonly pending: readonly PendingTask[];
  /** By task id; a task that the ledger has and this has not is not expected to end. */
  readonly running: ReadonlyMap<string, RunningTask>;
  readonly estimates: Estimates;
  readonly policies: RolePolicies;
  readonly search?: Search | undefined;
  readonly explain?: string | undefined;
  /** By task id, the node that others were ended on for it; see `Plan.preemptions`. */
  readonly promised?: ReadonlyMap<string, string> | undefined;
  /** Nodes whose free resources are the scheduler's this time, where others want some too; all when absent. */
  readonly granted?: ReadonlySet<string> | undefined;
}

export interface PlannedLaunch extends Launch {
  readonly node: string;
}

export interface Plan {
  readonly launches: readonly PlannedLaunch[];
  readonly waiting: readonly Waiting[];
  /** To be carried out: the victims are told to end, and until it runs its task has the node `promised`. */
  readonly preemptions: readonly Preemption[];
  /** Launches that the ledger or the offers do not allow, each with the reason: a defect of the scheduler that was asked. */
  readonly refused: readonly { readonly task: string; readonly why: string }[];
  /** With the launches placed. */
  readonly ledger: Ledger;
  /** Plan again then if nothing happens before: what somebody waits for should have come free; null when nobody waits so. */
  readonly replanAt: number | null;
}

/** When nothing happens, no sooner than this after a round is the next one worth its while. */
const minReplanMs = secondMs;

/** One round: offers are made, the scheduler answers, and the ledger has the last word. Equal input gives an equal plan. */
export function planRound(input: RoundInput, scheduler: Scheduler): Plan {
  if (input.pending.length === 0) {
    return { launches: [], waiting: [], preemptions: [], refused: [], ledger: input.ledger, replanAt: null };
  }
  const offers = makeOffers(input.ledger, input.roster.nodes, input.round, input.granted);
  const decision = scheduler.place(offers, input.pending, contextOf(input));
  const roles = new Map(input.pending.map(({ id, role }) => [id, role]));
  const placed = placeAll(input.ledger, offers, decision.launches, roles);
  const { waiting, preemptions } = decision;
  return { ...placed, waiting, preemptions, replanAt: replanAt(input.now, waiting) };
}

type Placed = Pick<Plan, 'launches' | 'refused' | 'ledger'>;

function placeAll(
  ledger: Ledger,
  offers: Offers,
  launches: readonly Launch[],
  roles: ReadonlyMap<string, string | undefined>,
): Placed {
  const attempts = launches.map(launch => {
    const { task, resources } = launch;
    const node = offers.nodeOf(launch.offer) ?? '';
    return {
      launch: { ...launch, node },
      event: { type: 'TaskPlaced', task, node, resources, role: roles.get(task) } as const,
    };
  });
  const applied = applyEvents(
    ledger,
    attempts.map(({ event }) => event),
  );
  const whyNot = new Map<LedgerEvent, string>(applied.refused.map(({ event, why }) => [event, why]));
  return {
    launches: attempts.flatMap(({ launch, event }) => (whyNot.has(event) ? [] : [launch])),
    refused: attempts.flatMap(({ launch: { task, offer }, event }) => {
      const why = whyNot.get(event);
      return why === undefined
        ? []
        : [{ task, why: offers.nodeOf(offer) === undefined ? `no offer ${offer} was made` : why }];
    }),
    ledger: applied.ledger,
  };
}

/** What a scheduler inside the master may know: the ledger's accounts, with the expected end of what runs. */
function contextOf(input: RoundInput): SchedulingContext {
  const { now, ledger, roster, estimates, search, explain } = input;
  return {
    now,
    search,
    explain,
    promised: input.promised ?? new Map(),
    shares: sharesOf(ledger, input.policies),
    roster,
    roomOf: index => accountOf(ledger, roster.nodes[index]?.id ?? ''),
    instancesOf: instancesIn(input),
    fetchingOn: fetchingIn(input),
    stateOf(index) {
      const node = roster.nodes[index];
      const account = node && accountOf(ledger, node.id);
      if (node === undefined || account === undefined) return undefined;
      const list = () => [...account.tasks].map(([task, resources]) => holdingOf(input, node, task, resources));
      return new AccountedNode(node, account, list);
    },
    expectedMs: (task, node) =>
      stagingMs(estimates, questionOf(task, node)) +
      Math.min(
        task.maxRunMs ?? Number.POSITIVE_INFINITY,
        estimate(estimates, questionOf(task, node)).ms * (node.slowdown ?? 1),
      ),
  };
}

function fetchingIn({ running, ledger, roster }: RoundInput): NonNullable<SchedulingContext['fetchingOn']> {
  let all: { readonly index: number; readonly artifacts: readonly string[] }[] | undefined;
  return wanted => {
    all ??= [...running].flatMap(([id, { startedAt, artifacts = [] }]) => {
      const index = startedAt !== null || artifacts.length === 0 ? undefined : roster.indexOf(nodeOf(ledger, id) ?? '');
      return index === undefined ? [] : [{ index, artifacts }];
    });
    return all.flatMap(({ index, artifacts }) => (artifacts.some(key => wanted.includes(key)) ? [index] : []));
  };
}

const nowhere: ReadonlyMap<number, number> = new Map();

function instancesIn({ running, ledger, roster }: RoundInput): SchedulingContext['instancesOf'] {
  let ofJob: Map<string, Map<number, number>> | undefined;
  return job => {
    if (ofJob === undefined) {
      ofJob = new Map();
      for (const [id, task] of running) {
        const index = roster.indexOf(nodeOf(ledger, id) ?? '');
        if (index === undefined) continue;
        const key = jobKey(task);
        const counts = ofJob.get(key) ?? new Map<number, number>();
        counts.set(index, (counts.get(index) ?? 0) + 1);
        ofJob.set(key, counts);
      }
    }
    return ofJob.get(job) ?? nowhere;
  };
}

/** Holdings are listed when they are asked for: most nodes that are looked at have too little free anyway. */
class AccountedNode implements NodeState {
  readonly id: string;
  readonly hostname: string;
  readonly attributes: NodeState['attributes'];
  readonly profile: string;
  readonly speed: number;
  readonly unavailable: string | undefined;
  readonly closesAt: number | undefined;
  readonly slowdown: number | undefined;
  readonly total: Resources;
  readonly allocated: Resources;
  readonly free: Resources;
  readonly #list: () => readonly Holding[];
  #holdings: readonly Holding[] | undefined;

  constructor(node: SchedulingNode, { total, allocated, free }: NodeAccount, list: () => readonly Holding[]) {
    this.id = node.id;
    this.hostname = node.hostname;
    this.attributes = node.attributes;
    this.profile = node.profile;
    this.speed = node.speed;
    this.unavailable = node.unavailable;
    this.closesAt = node.closesAt;
    this.slowdown = node.slowdown;
    this.total = total;
    this.allocated = allocated;
    this.free = free;
    this.#list = list;
  }

  get holdings(): readonly Holding[] {
    this.#holdings ??= this.#list();
    return this.#holdings;
  }
}

function holdingOf(input: RoundInput, node: SchedulingNode, task: string, resources: Resources): Holding {
  const known = input.running.get(task);
  if (known === undefined) return { task, job: '', resources, endAt: null };
  const elapsedMs = known.startedAt === null ? 0 : Math.max(0, input.now - known.startedAt);
  const stagedMs = known.startedAt === null ? stagingOn(input, known, node) : 0;
  const { ms, ...rest } = estimate(input.estimates, questionOf(known, node));
  const restMs = remainingMs({ ...rest, ms: ms * (node.slowdown ?? 1) }, elapsedMs);
  const { apartFrom, priority, role, startedAt, stopping = false, killGraceMs: graceMs = 0 } = known;
  return {
    task,
    job: jobKey(known),
    resources,
    apartFrom,
    endAt: stopping ? input.now + graceMs : known.type === 'service' ? null : input.now + stagedMs + restMs,
    yields: stopping || known.preemptible === false ? undefined : { priority, role, startedAt, graceMs },
  };
}

/** Fetching is begun anew with each round, until the node says that it has all. */
function stagingOn({ roster, estimates }: RoundInput, task: RunningTask, node: SchedulingNode): number {
  return (
    roster.fetchMs(roster.indexOf(node.id) ?? -1, task.artifacts ?? []) + stagingMs(estimates, questionOf(task, node))
  );
}

function questionOf(
  { class: name, type, expectedMs }: Pick<PendingTask, 'class' | 'type' | 'expectedMs'>,
  { profile, speed }: SchedulingNode,
): Question {
  return { class: name, type, expectedMs, profile, speed };
}

function replanAt(now: number, waiting: readonly Waiting[]): number | null {
  const starts = waiting.flatMap(({ expected }) => (expected === null ? [] : [expected.startAt]));
  return starts.length === 0
    ? null
    : Math.max(
        now + minReplanMs,
        starts.reduce((a, b) => Math.min(a, b)),
      );
}

import type { Random } from '../base/random.ts';
import type { Offer } from '../model/offer.ts';
import type { Resources } from '../model/resources.ts';
import { isNothing } from './amounts.ts';
import type { FairShares } from './fairness.ts';
import { accountOf, type Ledger } from './ledger.ts';
import type { PendingTask } from './pending.ts';
import type { Roster, SchedulingNode } from './roster.ts';

/** What a task on a node holds, and until when. */
export interface Holding {
  readonly task: string;
  /** `jobKey` of its job. */
  readonly job: string;
  readonly resources: Resources;
  /** Jobs that it never shares a node with. */
  readonly apartFrom?: readonly string[] | undefined;
  /** When it is expected to end, in milliseconds since 1970; null for what is not expected to end, as a service. */
  readonly endAt: number | null;
  /** What it is to whoever wants its place, if it may be ended for one of a higher priority. */
  readonly yields?:
    | {
        readonly priority: number;
        /** Null until it runs. */
        readonly startedAt: number | null;
        readonly role?: string | undefined;
        /** So long it may take to end. */
        readonly graceMs: number;
      }
    | undefined;
}

/** A node with what it has and who holds it. */
export interface NodeState extends SchedulingNode {
  readonly total: Resources;
  readonly allocated: Resources;
  readonly free: Resources;
  readonly holdings: readonly Holding[];
}

/** A budget for making a plan better than its first try. */
export interface Search {
  readonly dice: Random;
  /** The part of the budget that is spent, 0 to 1: by time where there is a clock, or by how often it was asked. */
  spent(): number;
  /** The node that an earlier round meant a waiting task for. */
  earlier(task: string): string | undefined;
}

/** What a scheduler inside the master knows beyond its offers. */
export interface SchedulingContext {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Every node; those without an offer cannot be used now. */
  readonly roster: Roster;
  /** The node at `index` of the roster; undefined where nobody knows what it has. */
  stateOf(index: number): NodeState | undefined;
  /** Of that node's state only this, for those who have to look at every node. */
  roomOf(index: number): Pick<NodeState, 'total' | 'free'> | undefined;
  /** How many tasks of a job (`jobKey`) there are, by the index of their node. */
  instancesOf(job: string): ReadonlyMap<number, number>;
  /** Indices of nodes on which tasks that do not run yet fetch some of these; none when left out. */
  fetchingOn?(artifacts: readonly string[]): readonly number[];
  /** The one task that is to be told of every node; else the first that wait are told of some. */
  readonly explain?: string | undefined;
  /** Without one the first try is the plan. */
  readonly search?: Search | undefined;
  /** By task id, the node that it was promised when others were ended for it. */
  readonly promised: ReadonlyMap<string, string>;
  /** Whose tasks go first, and which may not at all. */
  readonly shares: FairShares;
  /** How long `task` takes on `node`, in milliseconds, above 0; equal for nodes of equal profile and speed. */
  expectedMs(task: PendingTask, node: SchedulingNode): number;
}

/** The use of a part of an offer for one task; an offer may carry several. */
export interface Launch {
  readonly offer: string;
  readonly task: string;
  /** What the task holds from now on, the numbers of its ports among it. */
  readonly resources: Resources;
  /** As many as it asked for. */
  readonly ports: readonly number[];
  /** Milliseconds since 1970; null where no end is expected or known. */
  readonly expectedEndAt: number | null;
  /** So much of the time until then goes into fetching its artifacts; 0 when left out. */
  readonly fetchMs?: number | undefined;
}

/** Why a task is not on `node`. */
export interface NodeReason {
  readonly node: string;
  readonly why: string;
}

/** A task that was not placed. */
export interface Waiting {
  readonly task: string;
  /** One sentence. */
  readonly why: string;
  /** Node by node, as many as the scheduler's settings allow. */
  readonly reasons: readonly NodeReason[];
  /** Where and when it is expected to run, as far as that was reckoned; times in milliseconds since 1970. */
  readonly expected: { readonly node: string; readonly startAt: number; readonly endAt: number | null } | null;
}

/** Tasks that have to end so that one of a higher priority may have their place. */
export interface Preemption {
  readonly task: string;
  readonly node: string;
  readonly victims: readonly string[];
  /** When it is expected to start and end there, in milliseconds since 1970; null where no end is expected. */
  readonly startAt: number;
  readonly endAt: number | null;
}

/** The answer to a set of offers: what is not accepted is declined. */
export interface Decision {
  readonly launches: readonly Launch[];
  readonly waiting: readonly Waiting[];
  readonly preemptions: readonly Preemption[];
}

/** Whoever answers offers; it owns nothing and remembers nothing, and what it answers is checked against the ledger. */
export interface Scheduler {
  readonly name: string;
  place(offers: Offers, pending: readonly PendingTask[], context: SchedulingContext): Decision;
}

/** The offers of a round, each made when it is asked for: most nodes of a large fleet never are. */
export interface Offers extends Iterable<Offer> {
  /** Of one that is available and has something free. */
  of(node: SchedulingNode): Offer | undefined;
  /** The node of an offer that was made. */
  nodeOf(offer: string): string | undefined;
}

/** `round` is a word that makes their ids unique; where `granted` is there, only these nodes are offered. */
export function makeOffers(
  ledger: Ledger,
  nodes: readonly SchedulingNode[],
  round: string,
  granted?: ReadonlySet<string>,
): Offers {
  const made = new Map<string, string>();

  function of({ id: node, hostname, attributes, unavailable }: SchedulingNode): Offer | undefined {
    if (unavailable !== undefined || granted?.has(node) === false) return undefined;
    const account = accountOf(ledger, node);
    if (account === undefined || isNothing(account.free)) return undefined;
    const id = `${round}.${node}`;
    made.set(id, node);
    return { id, node, hostname, resources: account.free, attributes };
  }

  return {
    of,
    nodeOf: offer => made.get(offer),
    *[Symbol.iterator]() {
      for (const node of nodes) {
        const offer = of(node);
        if (offer !== undefined) yield offer;
      }
    },
  };
}

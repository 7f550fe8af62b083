import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { isDrained } from '../model/drain.ts';
import { accountOf, type Ledger, nodeOf } from '../scheduling/ledger.ts';
import { type Moves, movesDue, type Occupant } from '../scheduling/moves.ts';
import type { Waiting } from '../scheduling/offers.ts';
import type { PendingTask } from '../scheduling/pending.ts';
import type { Store } from '../store/store.ts';
import { maxIds } from '../store/tasks.ts';
import type { Events } from './events.ts';
import type { FleetNode } from './fleet.ts';
import type { Jobs } from './jobs.ts';
import type { TaskPool } from './task-pool.ts';

/** Has tasks leave nodes that are drained, or lost as their jobs see it. */
export interface MovesInHand {
  /** Does what is due, as the pool has the tasks now; when to look again if nothing happens. */
  carryOut(): Promise<number | null>;
  /** Says what keeps nodes from being empty, once a round has looked for places. */
  tell(whyWaiting: (task: string) => Waiting | undefined): void;
}

export function makeMoves(parts: {
  readonly store: Pick<Store, 'tasks'>;
  readonly jobs: Pick<Jobs, 'move' | 'replace'>;
  readonly fleet: { list(): FleetNode[] };
  readonly pool: TaskPool;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: Pick<Events, 'record'>;
  readonly ledger: () => Ledger;
  readonly wake: () => void;
  /** A node that is to go after its drain has no task left that could leave it. */
  readonly onEmptied: (node: string) => void;
}): MovesInHand {
  const { store, jobs, fleet, pool, clock, log, events, ledger, wake, onEmptied } = parts;
  const awaited = new Map<string, string>();
  /** What was done already: a replacement that failed is not entered again and again. */
  const done = { end: new Set<string>(), replace: new Set<string>() };
  const empty = new Set<string>();
  /** What a start of the master finds may be in the middle of moves. */
  let mayMove = true;
  store.tasks.watch(ids => {
    if (ids.some(id => awaited.has(id))) wake();
  });

  function* occupants(affected: ReadonlyMap<string, Occupant['node']>): Generator<Occupant> {
    for (const { id: task, type, template: version = '', ...seat } of pool.pending())
      if (type === 'service') yield { task, type, seat: seatOf(seat), version, ready: false, node: undefined };
    for (const [task, { type, stopping, ready, rescheduleAfterMs, node, template, ...seat }] of pool.running) {
      if (stopping === true) continue;
      const state = affected.get(node) ?? { drained: undefined, silentSince: undefined };
      yield { task, type, seat: seatOf(seat), version: template, ready, rescheduleAfterMs, node: state };
    }
    for (const [node, state] of affected)
      for (const task of tasksOn(node))
        if (!pool.running.has(task)) yield { task, type: 'batch', seat: task, version: '', ready: false, node: state };
  }

  const tasksOn = (node: string) => [...(accountOf(ledger(), node)?.tasks.keys() ?? [])];
  const mayLeave = (task: string) => pool.running.get(task)?.isOfNode !== true;

  function look(now: number): Moves {
    const affected = new Map<string, Occupant['node']>();
    for (const { id, drain = null, state, lastSeen } of fleet.list()) {
      const drained = isDrained(drain, now) ? drain : undefined;
      const silentSince = state === 'unreachable' ? lastSeen : undefined;
      if (drained !== undefined || silentSince !== undefined) affected.set(id, { drained, silentSince });
      if (drained === undefined) empty.delete(id);
      else if (!empty.has(id) && !tasksOn(id).some(mayLeave)) {
        empty.add(id);
        events.record('node-drained', { node: id, message: 'it is drained: no task is left that could leave it' });
        if (drained.thenGone === true && state !== 'quarantined') onEmptied(id);
      }
    }
    const isQuiet = affected.size === 0 && !mayMove;
    const moves = isQuiet ? noMoves : movesDue(occupants(affected), now);
    mayMove = affected.size > 0;
    awaited.clear();
    for (const { task, insteadOf } of moves.awaited) awaited.set(task, insteadOf);
    return moves;
  }

  async function act(moves: Moves): Promise<void> {
    for (const tasks of Object.values(done))
      for (const task of tasks) if (nodeOf(ledger(), task) === undefined) tasks.delete(task);
    const end = moves.end.filter(task => !done.end.has(task));
    const replace = moves.replace.filter(task => !done.replace.has(task));
    if (end.length + replace.length === 0) return;
    log.info('tasks leave their nodes', { ended: end.length, replaced: replace.length });
    for (let i = 0; i < end.length; i += maxIds) await jobs.move(end.slice(i, i + maxIds));
    for (let i = 0; i < replace.length; i += maxIds) await jobs.replace(replace.slice(i, i + maxIds));
    for (const task of end) done.end.add(task);
    for (const task of replace) done.replace.add(task);
    await pool.refresh();
    look(clock.now());
  }

  return {
    async carryOut() {
      const now = clock.now();
      const moves = look(now);
      await act(moves);
      const turns = fleet.list().flatMap(({ drain }) => (drain ? [drain.from, drain.until ?? now] : []));
      const next = [...turns, moves.nextAt ?? now].filter(at => at > now);
      return next.length === 0 ? null : Math.min(...next);
    },
    tell(whyWaiting) {
      for (const [task, insteadOf] of awaited) {
        const { expected = null, why } = whyWaiting(task) ?? {};
        const node = pool.running.get(insteadOf)?.node;
        if (expected !== null || why === undefined || node === undefined) continue;
        const message = `${insteadOf} runs on here, as there is no other place for it: ${why}`;
        events.record('drain-waits', { node, message });
      }
    },
  };
}

const noMoves: Moves = { end: [], replace: [], awaited: [], nextAt: null };

function seatOf({ namespace, job, order }: Pick<PendingTask, 'namespace' | 'job' | 'order'>): string {
  return `${namespace}/${job}/${order}`;
}

import type { Clock } from '../../base/clock.ts';
import { MesoliteError } from '../../base/errors.ts';
import { rolesOf } from '../../model/framework.ts';
import { isTerminal } from '../../model/task.ts';
import { sumOf } from '../../scheduling/amounts.ts';
import type { LedgerEvent } from '../../scheduling/ledger.ts';
import type { Store } from '../../store/store.ts';
import type { CallOf, SchedulerCall } from './calls.ts';
import type { Framework } from './framework.ts';
import type { Frameworks } from './frameworks.ts';
import type { Launches } from './launches.ts';
import type { Offers } from './offers.ts';
import type { Reconciliation } from './reconciliation.ts';
import { whyNotRoles } from './roles.ts';
import { stateFor, toMesosStatus } from './task-status.ts';
import type { Updates } from './updates.ts';

type Call = Exclude<SchedulerCall, CallOf<'SUBSCRIBE'>>;

/** What a call is answered with; `body` is JSON. */
export interface CallAnswer {
  readonly status: 200 | 202 | 501;
  readonly body?: object;
}

/** Carries out the calls of a framework that has subscribed, one after the other. */
export interface Scheduler {
  /** Throws QUEUE_FULL where too many wait, and UNAVAILABLE where the master cannot write. */
  call(framework: Framework, call: Call, mayHave: readonly string[] | undefined): Promise<CallAnswer>;
}

const accepted: CallAnswer = { status: 202 };

export function makeScheduler(parts: {
  readonly store: Store;
  readonly frameworks: Frameworks;
  readonly offers: Offers;
  readonly launches: Launches;
  readonly updates: Updates;
  readonly reconciliation: Reconciliation;
  readonly clock: Clock;
  /** Changes who has what. */
  readonly change: (events: readonly LedgerEvent[]) => void;
  /** Ends these tasks. */
  readonly stopTasks: (tasks: readonly string[]) => Promise<void>;
  /** Something may be offered that was not before. */
  readonly wake: () => void;
}): Scheduler {
  const { store, frameworks, offers, launches, updates, reconciliation, clock, change, stopTasks, wake } = parts;

  async function kill(framework: Framework, name: string, agent: string): Promise<void> {
    const task = await store.tasks.ofFramework(framework.id, name);
    if (task !== undefined && !isTerminal(task.state)) return stopTasks([task.id]);
    const message = task === undefined ? 'Attempted to kill an unknown task' : 'The task has ended already';
    const status = toMesosStatus(
      { task: name, agent: task?.node ?? agent },
      {
        state: stateFor(framework.info, task?.state ?? 'TASK_UNKNOWN'),
        source: 'SOURCE_MASTER',
        reason: 'REASON_RECONCILIATION',
        message,
        at: clock.now(),
      },
    );
    framework.stream?.send({ type: 'UPDATE', update: { status } });
  }

  function decline(framework: Framework, { offer_ids, filters }: CallOf<'DECLINE'>['decline']): void {
    // of each that is still there, whatever became of the others
    for (const { value } of offer_ids) {
      const declined = offers.take(framework, [value]) ?? [];
      change(declined.map(({ id: offer }) => ({ type: 'OfferEnded', offer })));
      offers.refuse(declined, sumOf(declined.map(({ resources }) => resources)), filters?.refuse_seconds);
    }
  }

  /** `role` is what older clients say in place of `roles`. */
  function suppress(framework: Framework, sent: CallOf<'SUPPRESS'>['suppress'], isSuppressed: boolean): void {
    const named = [...(sent?.roles ?? []), ...(sent?.role === undefined ? [] : [sent.role])];
    for (const role of named.length === 0 ? rolesOf(framework.info) : named) {
      if (isSuppressed) framework.suppressed.add(role);
      else framework.suppressed.delete(role);
    }
    if (!isSuppressed) offers.revive(framework, named);
  }

  async function update(
    framework: Framework,
    { framework_info: info, suppressed_roles }: CallOf<'UPDATE_FRAMEWORK'>['update_framework'],
    mayHave: readonly string[] | undefined,
  ): Promise<CallAnswer> {
    const why = whyNotRoles(info, mayHave);
    if (why !== undefined) throw new MesoliteError('INVALID_INPUT', why);
    await frameworks.update(framework, info, suppressed_roles);
    wake();
    return { status: 200 };
  }

  async function carryOut(
    framework: Framework,
    call: Call,
    mayHave: readonly string[] | undefined,
  ): Promise<CallAnswer> {
    switch (call.type) {
      case 'ACCEPT':
        await launches.accept(framework, call.accept);
        break;
      case 'DECLINE':
        decline(framework, call.decline);
        break;
      case 'REVIVE':
        suppress(framework, call.revive, false);
        break;
      case 'SUPPRESS':
        suppress(framework, call.suppress, true);
        return accepted;
      case 'KILL':
        await kill(framework, call.kill.task_id.value, call.kill.agent_id?.value ?? '');
        return accepted;
      case 'SHUTDOWN':
        // the executor of a command is called as its task
        await kill(framework, call.shutdown.executor_id.value, call.shutdown.agent_id.value);
        return accepted;
      case 'ACKNOWLEDGE':
        await updates.acknowledge(framework, call.acknowledge.task_id.value, call.acknowledge.uuid);
        return accepted;
      case 'RECONCILE':
        await reconciliation.reconcile(framework, call.reconcile);
        return accepted;
      case 'TEARDOWN':
        await frameworks.remove(framework, 'it was torn down');
        break;
      case 'UPDATE_FRAMEWORK':
        return update(framework, call.update_framework, mayHave);
      case 'RECONCILE_OPERATIONS':
        return {
          status: 200,
          body: { type: 'RECONCILE_OPERATIONS', reconcile_operations: { operation_statuses: [] } },
        };
      case 'MESSAGE':
        // commands have no executor that could hear it; Mesos drops such a message too
        return accepted;
      case 'REQUEST':
      case 'ACCEPT_INVERSE_OFFERS':
      case 'DECLINE_INVERSE_OFFERS':
      case 'ACKNOWLEDGE_OPERATION_STATUS':
        // nothing of that kind is ever asked for, and Mesos' own allocator ignores REQUEST
        return accepted;
      case 'UNKNOWN':
        return { status: 501 };
      default:
        return call satisfies never;
    }
    wake();
    return accepted;
  }

  return { call: (framework, call, mayHave) => framework.gate.run(() => carryOut(framework, call, mayHave)) };
}

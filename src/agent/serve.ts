import { secondMs } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { decode } from '../base/shape.ts';
import { aborted } from '../base/signal.ts';
import type { GivenSockets } from '../device/given-sockets.ts';
import type { Successor } from '../device/handover.ts';
import { afterLasting, keepVersion, refuseVersion } from '../lifecycle/agent-version.ts';
import { accessRecordSchema } from '../model/access.ts';
import { startAgent } from './agent.ts';
import type { AgentParts, RunningAgent } from './agent-parts.ts';
import type { VersionStore } from './agent-versions.ts';
import type { AgentConfig } from './config.ts';
import { LateRecords } from './late-records.ts';
import type { VersionChange } from './upgrade.ts';

export interface ServeParts
  extends Omit<AgentParts, 'sockets' | 'serving' | 'late' | 'inherited' | 'change'>,
    Omit<VersionChange, 'handOver'> {
  /** For the first agent; one that has to start again opens its own. */
  readonly sockets: GivenSockets | undefined;
  /** The agent is up. */
  readonly onUp: () => void;
  /** Calls `listener` whenever the agent shall hand over to another process; the returned function ends that. */
  readonly onHandover: (listener: () => void) => () => void;
  readonly startSuccessor: (version: string) => Successor;
  /** Who looks after processes is told that this one is the agent, and up. */
  readonly onMain: () => Promise<void>;
  /** And that another one shall be. */
  readonly onReload: () => Promise<void>;
  /** The agent works until `signal` aborts: as long it may be asked whether it is alive. */
  readonly onWorking: (signal: AbortSignal) => void;
  /** The process before this one need not watch it any more. */
  readonly onSettled: () => void;
  /** Calls `listener` with what the process before still records while it finishes its requests; absent: there was none. */
  readonly onRecord?: ((listener: (record: unknown) => void) => void) | undefined;
}

/**
 * Runs an agent until `signal` aborts or a successor has taken over. One that does not come up changes nothing while it loads; one
 * that fails behind the point of no return is replaced by an agent in this process, whose ports refuse for a moment. One of another
 * version is watched until it has reported in, or gives way by itself.
 */
export async function serveAgent(parts: ServeParts, config: AgentConfig, signal: AbortSignal): Promise<void> {
  let { sockets } = parts;
  let inherited = inheritedBy(parts);
  while (!signal.aborted) {
    const [working, serving, handedOver] = [new AbortController(), new AbortController(), new AbortController()];
    const late = new LateRecords();
    const requests = makeRequests(parts.onHandover);
    const change = { ...parts, handOver: requests.ask };
    const agent = await startAgent(
      {
        ...parts,
        change,
        sockets,
        inherited,
        late: late.record,
        serving: { signal: either(signal, serving), handedOver: handedOver.signal },
      },
      config,
      either(signal, working),
    );
    if (!isNew(parts, parts.running)) await parts.onMain();
    parts.onUp();
    parts.onWorking(either(signal, working));
    const proven = prove(parts, agent, requests.ask, either(signal, working));
    const onTaken = (successor: Successor): void => {
      late.sendTo(record => successor.record(record));
      handedOver.abort();
    };
    const { isOver, successor } = await untilFollowed(parts, agent, { working, signal, requests, onTaken });
    if (!isOver || successor === undefined) serving.abort();
    await agent.ended;
    await proven;
    await successor?.leave();
    if (isOver) return;
    sockets = undefined;
    inherited = late.sendTo;
  }
}

/** What another process says is looked at as all that comes from outside. */
function inheritedBy({ onRecord, log }: ServeParts): AgentParts['inherited'] {
  return (
    onRecord &&
    (to =>
      onRecord(record => {
        try {
          to(decode(accessRecordSchema, record, 'record of the process before'));
        } catch (error) {
          log.warn('a record of the process before cannot be read', { reason: messageOf(error) });
        }
      }))
  );
}

function either(signal: AbortSignal, { signal: other }: AbortController): AbortSignal {
  return AbortSignal.any([signal, other]);
}

/** A version that runs for the first time here has so long to last before its earlier starts are forgotten. */
const lastsMs = 60 * secondMs;
/** Beyond the time that it has to report in: then whoever has begun it takes it for dead. */
const marginMs = 30 * secondMs;

/** Has it been begun here and not yet reported in? */
function isNew({ versions }: ServeParts, version: string): boolean {
  const { tried, current } = versions.state.value;
  return tried?.id === version && current !== version;
}

/** A new version stays once it has reported in to the master; one that does not in time is followed by the one before it. */
async function prove(parts: ServeParts, agent: RunningAgent, ask: (version: string) => void, signal: AbortSignal) {
  const { clock, log, versions, running } = parts;
  const { current, tried } = versions.state.value;
  if (!isNew(parts, running)) {
    if (await clock.sleep(lastsMs, signal)) await remember(parts, afterLasting);
    return;
  }
  const withinMs = tried?.withinMs ?? lastsMs;
  const isLate = clock.sleep(withinMs, signal).then(() => 'late');
  const came = await Promise.race([agent.reportedIn.then(() => 'in time'), isLate]);
  if (signal.aborted) return;
  if (came === 'in time') {
    log.info('this version of the agent has reported in, and stays', { version: running });
    await remember(parts, state => keepVersion(state, running));
    await versions.tidy().catch(error => log.warn('older versions cannot be removed', { reason: messageOf(error) }));
    await parts.onMain();
    parts.onSettled();
    return;
  }
  const why = `it did not report in within ${withinMs / secondMs} s`;
  log.error('this version of the agent gives way to the one before', { version: running, reason: why });
  await remember(parts, state => refuseVersion(state, running, why));
  parts.onSettled();
  ask(current);
}

/** A disk that cannot be written keeps no version from running. */
async function remember({ versions, log }: ServeParts, next: Parameters<VersionStore['change']>[0]): Promise<void> {
  await versions.change(next).catch(error => {
    log.error('which version runs cannot be kept', { reason: messageOf(error) });
  });
}

interface Requests {
  readonly ask: (version: string) => void;
  /** The version that is asked for next; undefined when `signal` aborts. */
  next(running: string, signal: AbortSignal): Promise<string | undefined>;
}

/** By a signal for the version that runs, or by name; the newest that nobody has taken counts. */
function makeRequests(onHandover: ServeParts['onHandover']): Requests {
  let asked: string | undefined;
  let wake: (() => void) | undefined;
  const ask = (version: string): void => {
    asked = version;
    wake?.();
  };
  return {
    ask,
    async next(running, signal) {
      const forget = onHandover(() => ask(running));
      const woken = new Promise<void>(resolve => {
        wake = resolve;
      });
      if (asked === undefined) await Promise.race([woken, aborted(signal)]);
      forget();
      const version = signal.aborted ? undefined : asked;
      asked = undefined;
      return version;
    },
  };
}

interface Followed {
  /** False when the agent has let go and nobody took over. */
  readonly isOver: boolean;
  /** Who was up; absent when an end was asked for. */
  readonly successor?: Successor;
}

async function untilFollowed(
  parts: ServeParts,
  agent: RunningAgent,
  {
    working,
    signal,
    requests,
    onTaken,
  }: {
    readonly working: AbortController;
    readonly signal: AbortSignal;
    readonly requests: Requests;
    readonly onTaken: (successor: Successor) => void;
  },
): Promise<Followed> {
  const { log, versions, running, startSuccessor } = parts;
  for (;;) {
    const version = await requests.next(running, signal);
    if (version === undefined) return { isOver: true };
    log.info('another process shall take over', { version });
    await parts.onReload();
    const isTrial = isNew(parts, version);
    const failed = async (what: string, error: unknown): Promise<void> => {
      log.error(what, { reason: messageOf(error) });
      if (isTrial) await remember(parts, state => refuseVersion(state, version, messageOf(error)));
    };
    const successor = startSuccessor(version);
    try {
      await successor.ready();
    } catch (error) {
      await failed('nobody took over; this agent goes on', error);
      await parts.onMain();
      continue;
    }
    working.abort();
    await agent.released;
    try {
      await successor.begin(agent.socketOf);
      log.info('another process has taken over; requests under way are finished here');
      // one that goes before it has proven itself need not be watched either
      parts.onSettled();
      onTaken(successor);
      const { tried } = versions.state.value;
      if (isTrial) await successor.settled((tried?.withinMs ?? lastsMs) + marginMs, signal);
      return { isOver: true, successor };
    } catch (error) {
      await failed('nobody took over; this agent starts again', error);
      return { isOver: false };
    }
  }
}

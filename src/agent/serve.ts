import { messageOf } from '../base/errors.ts';
import { decode } from '../base/shape.ts';
import { aborted } from '../base/signal.ts';
import type { GivenSockets } from '../device/given-sockets.ts';
import type { Successor } from '../device/handover.ts';
import { accessRecordSchema } from '../model/access.ts';
import { type AgentParts, type RunningAgent, startAgent } from './agent.ts';
import type { AgentConfig } from './config.ts';
import { LateRecords } from './late-records.ts';

export interface ServeParts extends Omit<AgentParts, 'sockets' | 'serving' | 'late' | 'inherited'> {
  /** For the first agent; one that has to start again opens its own. */
  readonly sockets: GivenSockets | undefined;
  /** The agent is up. */
  readonly onUp: () => void;
  /** Calls `listener` whenever the agent shall hand over to another process; the returned function ends that. */
  readonly onHandover: (listener: () => void) => () => void;
  readonly startSuccessor: () => Successor;
  /** Calls `listener` with what the process before still records while it finishes its requests; absent: there was none. */
  readonly onRecord?: ((listener: (record: unknown) => void) => void) | undefined;
}

/**
 * Runs an agent until `signal` aborts or a successor has taken over. One that does not come up changes nothing while it loads; one
 * that fails behind the point of no return is replaced by an agent in this process, whose ports refuse for a moment.
 */
export async function serveAgent(parts: ServeParts, config: AgentConfig, signal: AbortSignal): Promise<void> {
  let { sockets } = parts;
  let inherited = inheritedBy(parts);
  while (!signal.aborted) {
    const [working, serving, handedOver] = [new AbortController(), new AbortController(), new AbortController()];
    const late = new LateRecords();
    const agent = await startAgent(
      {
        ...parts,
        sockets,
        inherited,
        late: late.record,
        serving: { signal: either(signal, serving), handedOver: handedOver.signal },
      },
      config,
      either(signal, working),
    );
    parts.onUp();
    const { isOver, successor } = await untilFollowed(parts, agent, { working, signal });
    if (successor === undefined) serving.abort();
    else {
      late.sendTo(record => successor.record(record));
      handedOver.abort();
    }
    await agent.ended;
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

interface Followed {
  /** False when the agent has let go and nobody took over. */
  readonly isOver: boolean;
  /** Who is up; absent when an end was asked for. */
  readonly successor?: Successor;
}

async function untilFollowed(
  { log, onHandover, startSuccessor }: ServeParts,
  agent: RunningAgent,
  { working, signal }: { readonly working: AbortController; readonly signal: AbortSignal },
): Promise<Followed> {
  while (await isAskedFor(onHandover, signal)) {
    log.info('another process shall take over');
    const successor = startSuccessor();
    try {
      await successor.ready();
    } catch (error) {
      log.error('nobody took over; this agent goes on', { reason: messageOf(error) });
      continue;
    }
    working.abort();
    await agent.released;
    try {
      await successor.begin(agent.socketOf);
      log.info('another process has taken over; requests under way are finished here');
      return { isOver: true, successor };
    } catch (error) {
      log.error('nobody took over; this agent starts again', { reason: messageOf(error) });
      return { isOver: false };
    }
  }
  return { isOver: true };
}

function isAskedFor(onHandover: ServeParts['onHandover'], signal: AbortSignal): Promise<boolean> {
  const asked = new Promise<boolean>(resolve => {
    const forget = onHandover(() => {
      forget();
      resolve(true);
    });
  });
  return Promise.race([asked, aborted(signal).then(() => false)]);
}

import { messageOf } from '../base/errors.ts';
import { aborted } from '../base/signal.ts';
import type { GivenSockets } from '../device/given-sockets.ts';
import type { Successor } from '../device/handover.ts';
import { type AgentParts, type RunningAgent, startAgent } from './agent.ts';
import type { AgentConfig } from './config.ts';

export interface ServeParts extends Omit<AgentParts, 'sockets' | 'serving'> {
  /** For the first agent; one that has to start again opens its own. */
  readonly sockets: GivenSockets | undefined;
  /** The agent is up. */
  readonly onUp: () => void;
  /** Calls `listener` whenever the agent shall hand over to another process; the returned function ends that. */
  readonly onHandover: (listener: () => void) => () => void;
  readonly startSuccessor: () => Successor;
}

/**
 * Runs an agent until `signal` aborts or a successor has taken over. One that does not come up changes nothing while it loads; one
 * that fails behind the point of no return is replaced by an agent in this process, whose ports refuse for a moment.
 */
export async function serveAgent(parts: ServeParts, config: AgentConfig, signal: AbortSignal): Promise<void> {
  let { sockets } = parts;
  while (!signal.aborted) {
    const [working, serving] = [new AbortController(), new AbortController()];
    const agent = await startAgent(
      { ...parts, sockets, serving: either(signal, serving) },
      config,
      either(signal, working),
    );
    parts.onUp();
    const isFollowed = await untilFollowed(parts, agent, { working, signal });
    serving.abort();
    await agent.ended;
    if (isFollowed) return;
    sockets = undefined;
  }
}

function either(signal: AbortSignal, { signal: other }: AbortController): AbortSignal {
  return AbortSignal.any([signal, other]);
}

/** True when a successor is up, or an end was asked for; false when the agent has let go and nobody took over. */
async function untilFollowed(
  { log, onHandover, startSuccessor }: ServeParts,
  agent: RunningAgent,
  { working, signal }: { readonly working: AbortController; readonly signal: AbortSignal },
): Promise<boolean> {
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
      return true;
    } catch (error) {
      log.error('nobody took over; this agent starts again', { reason: messageOf(error) });
      return false;
    }
  }
  return true;
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

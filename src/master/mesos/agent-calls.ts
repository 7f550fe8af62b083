import * as v from 'valibot';
import type { Drain } from '../../model/drain.ts';

const agentId = v.object({ agent_id: v.object({ value: v.pipe(v.string(), v.minLength(1), v.maxLength(255)) }) });

/** What the calls about one agent carry. */
export const agentCallEntries = {
  drain_agent: v.optional(v.object({ ...agentId.entries, mark_gone: v.optional(v.boolean(), false) })),
  deactivate_agent: v.optional(agentId),
  reactivate_agent: v.optional(agentId),
};

type AgentCalls = v.InferOutput<v.ObjectSchema<typeof agentCallEntries, undefined>>;

/** What a call wants of an agent, null for none any more; or why it cannot be had. */
export type WantedDrain =
  | { readonly agent: string; readonly drain: Drain | null }
  | { readonly status: 400 | 501; readonly why: string };

/**
 * The calls about one agent as drains, undefined for any other call: DRAIN_AGENT ends its tasks now, as in Mesos; DEACTIVATE_AGENT gives
 * it no more of them, frameworks' go on, and services of jobs start elsewhere.
 */
export function wantedDrain(type: string, calls: AgentCalls, now: number): WantedDrain | undefined {
  const drain = { from: now, until: null, endTasksAt: null };
  switch (type) {
    case 'DRAIN_AGENT':
      if (calls.drain_agent?.mark_gone === true)
        return { status: 501, why: 'drain_agent.mark_gone is not carried out' };
      return wanted(type, calls.drain_agent, { ...drain, endTasksAt: now });
    case 'DEACTIVATE_AGENT':
      return wanted(type, calls.deactivate_agent, drain);
    case 'REACTIVATE_AGENT':
      return wanted(type, calls.reactivate_agent, null);
    default:
      return undefined;
  }
}

function wanted(type: string, call: v.InferOutput<typeof agentId> | undefined, drain: Drain | null): WantedDrain {
  if (call === undefined) return { status: 400, why: `Expecting '${type.toLowerCase()}' to be present` };
  return { agent: call.agent_id.value, drain };
}

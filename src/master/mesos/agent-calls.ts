import * as v from 'valibot';
import type { Drain } from '../../model/drain.ts';

const agentId = v.object({ agent_id: v.object({ value: v.pipe(v.string(), v.minLength(1), v.maxLength(255)) }) });

/** What the calls about one agent carry. */
export const agentCallEntries = {
  drain_agent: v.optional(v.object({ ...agentId.entries, mark_gone: v.optional(v.boolean(), false) })),
  deactivate_agent: v.optional(agentId),
  reactivate_agent: v.optional(agentId),
  mark_agent_gone: v.optional(agentId),
};

type AgentCalls = v.InferOutput<v.ObjectSchema<typeof agentCallEntries, undefined>>;

/** What a call wants of an agent: a drain, null for none any more, or that it is gone; or why it cannot be had. */
export type Wanted = { readonly agent: string; readonly want: Drain | null | 'gone' } | { readonly why: string };

/**
 * The calls about one agent, undefined for any other call: DRAIN_AGENT ends its tasks now, as in Mesos; DEACTIVATE_AGENT gives
 * it no more of them, frameworks' go on, and services of jobs start elsewhere.
 */
export function wantedOf(type: string, calls: AgentCalls, now: number): Wanted | undefined {
  const drain = { from: now, until: null, endTasksAt: null };
  switch (type) {
    case 'DRAIN_AGENT':
      return wanted(type, calls.drain_agent, {
        ...{ ...drain, endTasksAt: now },
        ...(calls.drain_agent?.mark_gone === true && { thenGone: true }),
      });
    case 'DEACTIVATE_AGENT':
      return wanted(type, calls.deactivate_agent, drain);
    case 'REACTIVATE_AGENT':
      return wanted(type, calls.reactivate_agent, null);
    case 'MARK_AGENT_GONE':
      return wanted(type, calls.mark_agent_gone, 'gone');
    default:
      return undefined;
  }
}

function wanted(type: string, call: v.InferOutput<typeof agentId> | undefined, want: Drain | null | 'gone'): Wanted {
  if (call === undefined) return { why: `Expecting '${type.toLowerCase()}' to be present` };
  return { agent: call.agent_id.value, want };
}

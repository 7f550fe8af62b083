import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { decodeJson } from '../../../src/base/shape.ts';
import { topics } from '../../../src/model/topics.ts';
import { untilReady, untilTasks } from '../../fixtures/fleet.ts';
import { job } from '../../fixtures/fleet-api.ts';
import { until } from '../../fixtures/fleet-until.ts';
import type { AgentProgram, Arena } from './arena.ts';
import type { Attack, Attempt } from './attack.ts';
import { wrongClock } from './programs.ts';
import type { Heard } from './wire.ts';

const missing = () => (wrongClock('+0') === undefined ? 'faketime is not here' : undefined);

const headSchema = v.object({ ts: v.number() });
const closeMs = 60_000;

/** Waits until the node says something with the right time on it. */
async function untilTold(arena: Arena, node: string, since: number): Promise<void> {
  const isRight = ({ topic, payload }: Heard) => {
    if (!topic.startsWith(`mesolite/v1/up/${node}/`) || topic === topics.up(node, 'death')) return false;
    const { ts } = decodeJson(headSchema, payload, 'message');
    return Math.abs(ts - Date.now()) < closeMs;
  };
  await arena.eavesdropper.until(`${node} knows the time`, isRight, since, 60_000);
}

async function run(arena: Arena, node: string): Promise<boolean> {
  const name = `time-${node}`;
  const onIt = { constraints: [{ attribute: 'node', operator: 'in', values: [node] }] };
  await arena.api.apply(job(name, { type: 'batch', command: ['/bin/sh', '-c', 'exit 0'], ...onIt }));
  const tasks = await untilTasks(arena.api, name, 'TASK_FINISHED');
  await arena.api.remove('Job', name);
  return tasks.length === 1;
}

/** The agent starts again with another clock: it comes back, its task has not been touched, and it runs a new one. */
async function restart(arena: Arena, agent: AgentProgram, time: string, what: string): Promise<Attempt> {
  const [before] = await untilTasks(arena.api, 'timeless', 'TASK_RUNNING');
  await agent.stop();
  const since = arena.eavesdropper.heard.length;
  agent.start(wrongClock(time) ?? {});
  await untilTold(arena, agent.node, since);
  await untilReady(arena.api, agent.node);
  const ran = await run(arena, agent.node);
  const [after] = await untilTasks(arena.api, 'timeless', 'TASK_RUNNING');
  return { what, refused: ran && after?.id === before?.id && after?.restarts === 0 };
}

/** By its clock all has expired: it must believe nobody and remove nothing, and no floor may keep it from the right time afterwards. */
async function farAhead(arena: Arena, agent: AgentProgram): Promise<boolean> {
  const since = arena.eavesdropper.heard.length;
  await agent.stop();
  agent.start(wrongClock('+20y') ?? {});
  await until('it says that its clock may be wrong', () =>
    readFileSync(`${agent.dataDir}.log`, 'utf8').includes('the clock of this node says'),
  );
  const said = arena.eavesdropper.heard.slice(since).filter(({ topic }) => topic === topics.up(agent.node, 'birth'));
  const [run] = await untilTasks(arena.api, 'timeless', 'TASK_RUNNING');
  return said.length === 0 && run?.restarts === 0;
}

const wrong: Attack = {
  name: 'clock at 1970, +20 y, one hour back',
  skip: missing,
  async mount(arena) {
    const early = wrongClock('@1970-01-01 00:01:00') ?? {};
    const fresh = await arena.startAgent('pi-6', { env: early });
    const onIt = { constraints: [{ attribute: 'node', operator: 'in', values: ['pi-6'] }] };
    await arena.api.apply(job('timeless', { ...onIt, command: ['sleep', '1000'] }));
    const attempts = [{ what: 'a board of 1970 joins', refused: await run(arena, 'pi-6') }];
    attempts.push(await restart(arena, fresh, '@1970-01-01 00:01:00', 'started in 1970'));
    const kept = await farAhead(arena, fresh);
    attempts.push({ what: 'started 20 years ahead', refused: kept });
    attempts.push(await restart(arena, fresh, '+0', 'the right time after it'));
    attempts.push(await restart(arena, fresh, '-1h', 'started one hour back'));
    const corrected = await arena.countOf('clock-corrected', 'pi-6');
    await fresh.stop();
    return {
      attempts: [...attempts, { what: 'the operator is told', refused: corrected > 0 }],
      how: "takes the master's time, keeps its task and runs new ones; 20 years ahead it believes nobody",
    };
  },
};

/** Attacks on the time of a node, by nature or by NTP. */
export const clocks: readonly Attack[] = [wrong];

import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { endTasks, untilTasks } from '../../fixtures/fleet.ts';
import { job } from '../../fixtures/fleet-api.ts';
import { until } from '../../fixtures/fleet-until.ts';
import { type Attack, presume } from './attack.ts';

const cloned: Attack = {
  name: 'cloned card',
  async mount(arena) {
    const original = await arena.startAgent('pi-5');
    const onIt = { constraints: [{ attribute: 'node', operator: 'in', values: ['pi-5'] }] };
    await arena.api.apply(job('kept', { ...onIt, command: ['sleep', '1000'] }));
    const [task] = await untilTasks(arena.api, 'kept', 'TASK_RUNNING');
    await original.stop();
    const dataDir = join(arena.directory, 'pi-5-copy');
    cpSync(original.dataDir, dataDir, { recursive: true, filter: path => !path.includes('/tasks') });
    const copy = await arena.makeAgent('pi-5', dataDir, await arena.api.joinString());
    const identity = await arena.identityOf(original);
    const begun = performance.now();
    original.start();
    copy.start();
    await until('pi-5 is in quarantine', async () =>
      (await arena.api.nodes()).some(({ node, state }) => node === 'pi-5' && state === 'quarantined'),
    );
    const seconds = ((performance.now() - begun) / 1000).toFixed(0);
    const events = await arena.countOf('node-quarantined', 'pi-5');
    presume(events > 0, 'the operator is told');
    const code = await arena.loginCode(identity, 'pi-5');
    const [after] = await arena.api.tasks('kept');
    presume(after?.id === task?.id && after?.state === 'TASK_RUNNING', 'its task is kept');
    await copy.stop();
    await original.stop();
    await endTasks(dataDir);
    return {
      attempts: [{ what: 'either of them at the broker', refused: code !== 0 }],
      how: `in quarantine after ${seconds} s, its task kept, the operator told`,
    };
  },
};

/** Attacks with a copy of all that a node has. */
export const cards: readonly Attack[] = [cloned];

/** A node in a network that lets nothing out but the port of the API: it joins, works and stays, by WebSocket. */
import { join } from 'node:path';
import t from 'tap';
import { parseJoinString, printJoinString } from '../../src/identity/join-string.ts';
import { agentConfig, makeHome, masterConfig, runAgent, runMaster, untilReady, untilTasks } from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';

t.test('a node to which only the API can be reached joins and runs tasks', async t => {
  const home = makeHome(t);
  const ports = new FreePorts();
  const config = await masterConfig(join(home, 'master'), ports);
  const { api } = await runMaster(t, config);
  const told = parseJoinString(await api.joinString());
  t.equal(told.wssPort, config.apiPort);
  const closed = await ports.take();
  const text = printJoinString({ ...told, addresses: [{ host: '127.0.0.1', port: closed }] });
  const agent = await runAgent(t, await agentConfig(t, { dataDir: join(home, 'a'), node: 'a', join: text }, ports));
  await untilReady(api, 'a');
  await api.apply(job('one', { type: 'batch', command: ['/bin/sh', '-c', 'echo done'] }));
  const [task] = await untilTasks(api, 'one', 'TASK_FINISHED');
  t.equal(await api.output(task?.id ?? ''), 'done\n');
  t.equal(agent.log.all('the port of the broker cannot be reached: going by WebSocket').length, 1);
});

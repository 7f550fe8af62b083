import t from 'tap';
import { callerOf } from '../../../src/proxy/egress/credential.ts';
import { byTask, Mesh } from '../../fixtures/proxy-node.ts';

const client = new Mesh().workload('client', {});
const workloads = byTask([client, { ...client, task: 'open-1', callerSecret: '' }]);
const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

t.test('task id and secret together prove a task', async t => {
  t.equal(callerOf(basic('client-1:secret-of-client'), workloads), client);
  t.equal(callerOf(basic('client-1:secret-of-client').replace('Basic', 'basic '), workloads), client);
});

t.test('anything else proves nothing', async t => {
  for (const value of [
    '',
    'Basic',
    'Basic !!!',
    'Bearer abc',
    basic('client-1'),
    basic('client-1:'),
    basic('client-1:secret-of-clienT'),
    basic('client-1:secret-of-client2'),
    basic('nobody:secret-of-client'),
    basic('nobody:'),
    basic('open-1:'),
    basic('constructor:secret'),
    basic(`client-1:${'x'.repeat(2000)}`),
  ]) {
    t.equal(callerOf(value, workloads), undefined, value.slice(0, 60));
  }
});

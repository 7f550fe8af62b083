import t from 'tap';
import { AgentWords } from '../fixtures/agent-words.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

const usage = { cpu: 0.1, memUsedMb: 1, diskUsedMb: 1, agentRssMb: 50, load1: 0 };

t.test('each message says which start of the agent it is of, its place in the sequence and the time', async t => {
  const clock = new FakeClock(1_000);
  const words = new AgentWords({ node: 'pi-7', boot: 12, clock });
  words.sender.send('hb', { full: true, usage, held: 'h' });
  await clock.advance(500);
  words.sender.send('ack', { kind: 'policy', subject: 'all', revision: 5 });
  t.equal(words.words[0]?.node, 'pi-7');
  t.match(words.take('hb'), [{ v: 1, boot: 12, seq: 0, full: true, usage, held: 'h' }]);
  t.match(words.take('ack'), [{ v: 1, boot: 12, seq: 1, ts: 1_500, revision: 5 }]);
});

t.test('of heartbeats only the newest matters; everything else arrives, in order', async t => {
  const words = new AgentWords();
  words.sender.send('hb', { full: false, usage: {}, held: '' });
  words.sender.send('audit', {
    batch: { first: 0, previous: '0'.repeat(64), head: '0'.repeat(64), lines: ['{}'] },
  });
  words.sender.send('csr', { id: 'x', spiffeId: 's', csr: '' });
  words.sender.send('task', { statuses: [{ uuid: 'u', task: 't', state: 'TASK_RUNNING', at: 1 }] });
  words.sender.send('birth', {
    version: '1',
    profile: 'board',
    inventory: {
      arch: 'x64',
      cpuModel: '',
      cpuCount: 1,
      memoryMb: 1,
      deviceTreeModel: '',
      dmiProduct: '',
      virtual: false,
      os: '',
      kernel: '',
    },
    total: { scalars: {}, ranges: {}, sets: {} },
    attributes: {},
    address: '10.0.0.1',
    meshPort: 1,
    heartbeatMs: 1_000,
    usage,
    held: '',
    epoch: 0,
    generation: 0,
    tasks: [],
  });
  t.same(
    words.words.map(({ lane, kind }) => [lane, kind]),
    [
      ['latest', 'hb'],
      ['queue', 'audit'],
      ['queue', 'csr'],
      ['queue', 'task'],
      ['queue', 'birth'],
    ],
    'a birth follows the statuses that were said before it',
  );
});

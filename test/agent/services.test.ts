import t, { type Test } from 'tap';
import { makeServiceInboxes } from '../../src/agent/services.ts';
import { openFiles } from '../../src/device/files.ts';
import type { ServiceDocument } from '../../src/model/service.ts';
import { topics } from '../../src/model/topics.ts';
import { AgentWords } from '../fixtures/agent-words.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { makeSignedWords } from '../fixtures/signed-words.ts';

const clock = new FakeClock();
const { seal, verify } = makeSignedWords(clock);

const document = (name: string, more: Partial<ServiceDocument> = {}): ServiceDocument => ({
  name,
  namespace: 'default',
  protocol: 'http',
  spiffeId: `spiffe://test.mesolite/ns/default/sa/${name}`,
  endpoints: [],
  labelSets: [],
  ...more,
});

type Handler = (topic: string, payload: Uint8Array) => void;

/** The service inboxes of an agent over the files of `directory`, and the topics that it listens to. */
async function open(t: Test, directory = t.testdir()) {
  const words = new AgentWords({ clock });
  const listening = new Map<string, Handler>();
  const underWay: Promise<unknown>[] = [];
  const services = makeServiceInboxes({
    verify,
    files: await openFiles(directory),
    clock,
    sender: words.sender,
    refusals: words.refusals,
    log: new CapturedLog(),
    inBackground: (_, work) => void underWay.push(work),
    subscribe(topic, handler) {
      if (listening.has(topic)) throw new Error(`listens to ${topic} twice`);
      listening.set(topic, handler);
      return () => void listening.delete(topic);
    },
  });
  const publish = async (key: string, wire: Uint8Array) => {
    listening.get(topics.service(key))?.(topics.service(key), wire);
    await Promise.all(underWay.splice(0));
  };
  return { directory, services, words, publish, topics: () => [...listening.keys()] };
}

t.test('a service is listened to only while a task calls it', async t => {
  const { services, publish, topics: listening, words } = await open(t);
  await services.want(new Set(['web.default']));
  t.same(listening(), [topics.service('web.default')]);
  await publish('web.default', seal('service', 'web.default', 1, document('web')));
  t.same(services.known.value.get('web.default'), document('web'));
  t.match(words.take('ack'), [{ kind: 'service', subject: 'web.default', revision: 1 }]);

  await services.want(new Set(['db.default']));
  t.same(listening(), [topics.service('db.default')]);
  t.same([...services.known.value.keys()], [], 'what nobody calls is not known any more');
  await services.want(new Set());
  t.same(listening(), []);
});

t.test('the services of before are known without a network', async t => {
  const first = await open(t);
  await first.services.want(new Set(['web.default', 'gone.default']));
  await first.publish('web.default', seal('service', 'web.default', 5, document('web')));
  await first.publish('gone.default', seal('service', 'gone.default', 5, document('gone')));
  await first.services.want(new Set(['web.default']));

  const { services, publish } = await open(t, first.directory);
  await services.want(new Set(['web.default', 'gone.default']));
  t.same([...services.known.value.keys()], ['web.default']);
  await publish('web.default', seal('service', 'web.default', 4, document('web', { protocol: 'tcp' })));
  t.equal(services.known.value.get('web.default')?.protocol, 'http', 'an older one is refused after a start, too');
});

t.test('one service cannot be published as another, nor with a body that is none', async t => {
  const { services, publish, words } = await open(t);
  await services.want(new Set(['web.default']));
  await publish('web.default', seal('service', 'db.default', 1, document('db')));
  await publish('web.default', seal('service', 'web.default', 1, { name: 'web' }));
  t.equal(services.known.value.size, 0);
  t.match(words.take('ack'), [{ reason: /came as service for web\.default/ }, { reason: /^service web\.default: / }]);
});

t.test('wishes that come quickly after each other end with the last one', async t => {
  const { services, topics: listening } = await open(t);
  const wishes = [['a.default'], [], ['a.default', 'b.default'], ['b.default'], [], ['c.default']];
  await Promise.all(wishes.map(keys => services.want(new Set(keys))));
  t.same(listening(), [topics.service('c.default')]);
});

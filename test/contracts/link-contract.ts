import type { Test } from 'tap';
import type { Link } from '../../src/link/link.ts';
import { topics } from '../../src/model/topics.ts';
import { nextMessage, untilState } from '../fixtures/wire.ts';

/** A link that is not started, on a broker of its own, and another party on the same broker. */
export interface LinkUnderTest {
  readonly link: Link;
  readonly other: Link;
}

/** What every link keeps, whatever carries it; all of it as the master, who may use every topic. */
export function linkContract(t: Test, make: (t: Test) => Promise<LinkUnderTest>): void {
  const bytes = (text: string) => Buffer.from(text);

  async function started(t: Test): Promise<LinkUnderTest & { stop: () => Promise<void> }> {
    const under = await make(t);
    const controller = new AbortController();
    const stop = async () => {
      controller.abort();
      await under.link.closed;
    };
    t.teardown(stop);
    await under.link.start(controller.signal);
    await untilState(under.link, 'up');
    return { ...under, stop };
  }

  t.test('a message goes to the other side and comes from it, with either quality of service', async t => {
    const { link, other } = await started(t);
    for (const qos of [0, 1] as const) {
      const heard = nextMessage(other, topics.down('a', 'ask'));
      // the other's subscription is in force once a message of its own comes back
      await echo(other);
      await link.publish(topics.down('a', 'ask'), bytes(`down ${qos}`), { qos });
      t.strictSame(await heard, { topic: topics.down('a', 'ask'), text: `down ${qos}` });

      const answered = nextMessage(link, topics.allUp);
      await echo(link);
      await other.publish(topics.up('a', 'ack'), bytes(`up ${qos}`), { qos });
      t.strictSame(await answered, { topic: topics.up('a', 'ack'), text: `up ${qos}` });
    }
  });

  t.test('what was subscribed before the start is heard after it', async t => {
    const { link, other } = await make(t);
    const heard = nextMessage(link, topics.up('a', 'birth'));
    const controller = new AbortController();
    await link.start(controller.signal);
    await untilState(link, 'up');
    await other.publish(topics.up('a', 'birth'), bytes('hello'), { qos: 1 });
    t.equal((await heard).text, 'hello');
    controller.abort();
    await link.closed;
  });

  t.test('messages of one sender arrive in order, retained and not', async t => {
    const { link, other } = await started(t);
    const heard: string[] = [];
    const all = new Promise<void>(resolve => {
      other.subscribe('mesolite/v1/#', (topic, payload) => {
        if (topic.includes('echo')) return;
        heard.push(Buffer.from(payload).toString());
        if (heard.length === 300) resolve();
      });
    });
    await echo(other);
    const work: Promise<void>[] = [];
    for (let i = 0; i < 100; i++) {
      work.push(link.publish(topics.policy, bytes(`${i} retained`), { qos: 1, retain: true }));
      work.push(link.publish(topics.down('a', 'task'), bytes(`${i} acknowledged`), { qos: 1 }));
      work.push(link.publish(topics.down('a', 'ask'), bytes(`${i} quick`), { qos: 0 }));
    }
    await Promise.all(work);
    await all;
    for (const kind of ['retained', 'acknowledged', 'quick']) {
      const expected = Array.from({ length: 100 }, (_, i) => `${i} ${kind}`);
      t.strictSame(
        heard.filter(text => text.endsWith(kind)),
        expected,
        `every ${kind} message, in order`,
      );
    }
  });

  t.test('a retained message reaches who subscribes later, by its exact topic', async t => {
    const { link, other } = await started(t);
    await other.publish(topics.manifest, bytes('first'), { qos: 1, retain: true });
    await other.publish(topics.manifest, bytes('second'), { qos: 1, retain: true });
    t.equal((await nextMessage(link, topics.manifest)).text, 'second');
    t.equal((await nextMessage(link, topics.manifest)).text, 'second', 'each subscriber anew');
    t.teardown(link.subscribe('mesolite/v1/all/+', () => t.fail('a wildcard reads no retained message')));
    await echo(link);
  });

  t.test('a handler that throws harms nobody else, and is counted', async t => {
    const { link } = await started(t);
    link.subscribe(topics.up('a', 'log'), () => {
      throw new Error('no');
    });
    const heard = nextMessage(link, topics.up('a', 'log'));
    await echo(link);
    await link.publish(topics.up('a', 'log'), bytes('line'), { qos: 1 });
    t.equal((await heard).text, 'line');
    await echo(link);
    t.equal(link.stats().handlerErrors, 1);
    t.equal(link.state.value, 'up');
  });

  t.test('a subscription that ended hears nothing more', async t => {
    const { link } = await started(t);
    let heard = 0;
    const stop = link.subscribe(topics.up('a', 'log'), () => heard++);
    await echo(link);
    stop();
    await link.publish(topics.up('a', 'log'), bytes('line'), { qos: 1 });
    await echo(link);
    t.equal(heard, 0);
  });

  t.test('a publish is refused before the start, after the stop, and when its signal has aborted', async t => {
    const { link } = await make(t);
    const send = (signal?: AbortSignal) =>
      link.publish(topics.policy, bytes('x'), signal === undefined ? { qos: 1 } : { qos: 1, signal });
    await t.rejects(send(), { code: 'UNAVAILABLE' });
    const controller = new AbortController();
    await link.start(controller.signal);
    await untilState(link, 'up');
    await t.rejects(send(AbortSignal.abort()), { code: 'UNAVAILABLE' });
    await send();
    controller.abort();
    await link.closed;
    t.equal(link.state.value, 'down');
    await t.rejects(send(), { code: 'UNAVAILABLE' });
  });

  t.test('what is too large to send is refused here', async t => {
    const { link } = await started(t);
    await t.rejects(link.publish(topics.policy, Buffer.alloc(5 * 1024 * 1024), { qos: 1 }), { code: 'TOO_LARGE' });
    t.equal(link.state.value, 'up');
  });
}

/** A round trip: the broker has taken all that this link said before, subscriptions too. */
async function echo(link: Link): Promise<void> {
  const heard = nextMessage(link, topics.down('echo', 'ack'));
  await link.publish(topics.down('echo', 'ack'), Buffer.from('echo'), { qos: 1 });
  await heard;
}

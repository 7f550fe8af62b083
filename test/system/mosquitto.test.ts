/** The same master and agents on a broker that is not ours: a real mosquitto, set up by what the command writes. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadIdentity } from '../../src/agent/node-identity.ts';
import { silentLog } from '../../src/base/log.ts';
import { systemClock } from '../../src/device/clock.ts';
import { systemRandom } from '../../src/device/dice.ts';
import { openFiles } from '../../src/device/files.ts';
import { clientTlsOptions, joinTlsOptions } from '../../src/identity/contexts.ts';
import { parseJoinString } from '../../src/identity/join-string.ts';
import { readTrustBundle } from '../../src/identity/verify.ts';
import { type Dial, tlsDial } from '../../src/link/dial.ts';
import { untilUp } from '../../src/link/link.ts';
import { MqttLink, type MqttLinkSettings } from '../../src/link/mqtt-link.ts';
import { topics } from '../../src/model/topics.ts';
import { run } from '../fixtures/cli-run.ts';
import {
  joinAgent,
  makeHome,
  masterConfig,
  proxyOf,
  runMaster,
  trustDomain,
  untilReady,
  untilTasks,
} from '../fixtures/fleet.ts';
import { job, policyFor } from '../fixtures/fleet-api.ts';
import { callerProgram, callThrough, echoProgram } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';
import { isMosquittoMissing, startMosquitto } from '../fixtures/mosquitto.ts';

const settings = isMosquittoMissing === false ? {} : { skip: isMosquittoMissing };

t.test('a fleet on mosquitto', settings, async t => {
  const whole = t;
  const home = makeHome(t);
  const ports = new FreePorts();
  const [port, joinPort] = [await ports.take(), await ports.take()];
  const own = await masterConfig(join(home, 'master'), ports);
  const config = { ...own, broker: { host: '127.0.0.1', port, joinPort } };
  const master = await runMaster(t, config);
  const { api } = master;

  await t.test('its files are written by the command, and the key stays with them', async t => {
    const env = { MESOLITE_CONFIG: join(home, 'contexts') };
    const context = ['--server', `https://127.0.0.1:${own.apiPort}`, '--ca', join(own.dataDir, 'ca.pem')];
    const token = ['--token-file', join(own.dataDir, 'operator.token')];
    await run(['context', 'set', 'here', ...context, ...token], { env });
    const flags = ['--port', String(port), '--join-port', String(joinPort), '--name', '127.0.0.1'];
    const made = await run(['broker', 'config', 'mosquitto', ...flags, '--out', join(home, 'broker')], { env });
    t.match(made, { code: 0, out: '', err: /mesolite master --broker mqtts:\/\/HOST:/ });
    t.equal(statSync(join(home, 'broker', 'broker.key')).mode & 0o777, 0o600);
  });

  let broker = await startMosquitto(t, join(home, 'broker'), port);
  const untilSaid = (pattern: string) => until(pattern, () => new RegExp(pattern).test(broker.said()));
  const dirOf = (node: string) => join(home, node);
  const nodes = ['near', 'far', 'spare'];
  const [near, far, spare] = await Promise.all(
    nodes.map(node => joinAgent(t, master, { dataDir: dirOf(node), node, heartbeatMs: 1000 }, ports)),
  );

  await t.test('nodes join, run tasks, call each other and obey a policy', async t => {
    const on = (node: string) => ({ constraints: [{ attribute: 'node', operator: 'in', values: [node] }] });
    await api.apply(
      job('echo', {
        ...on('far'),
        serviceAccount: 'echo',
        command: echoProgram,
        ports: [{ name: 'http' }],
        service: { port: 'http' },
        health: { type: 'http', port: 'http', interval: '1s' },
      }),
      job('caller', { ...on('near'), serviceAccount: 'caller', upstreams: ['echo'], command: callerProgram }),
    );
    await untilTasks(api, 'echo', 'TASK_RUNNING');
    const proxy = await proxyOf(api, 'caller');
    const status = async () => (await callThrough(proxy, 'http://echo.default.mesh/')).status;
    await until('the call arrives', async () => (await status()) === 200);
    await api.apply(policyFor('echo', 'nobody', { action: 'DENY', rules: [{}] }));
    await until('the policy holds', async () => (await status()) === 403);
    await api.remove('AuthorizationPolicy', 'nobody');
    await until('it holds no more', async () => (await status()) === 200);
    const verdicts = await until('the audit has both', async () => {
      const verdicts = new Set((await api.audit()).map(({ record }) => record.verdict));
      return verdicts.has('allow') && verdicts.has('deny') && verdicts;
    });
    t.equal(verdicts.size, 2);
  });

  await t.test('a policy that was set while the broker was away holds once it is back', async t => {
    await broker.stop();
    await api.apply(policyFor('echo', 'later', { action: 'DENY', rules: [{}] }));
    t.match(await api.policies(), [{ enforcedOn: 0 }]);
    broker = await startMosquitto(whole, join(home, 'broker'), port);
    await until('all nodes enforce it', async () => (await api.policies()).every(p => p.enforcedOn === nodes.length));
    for (const node of nodes) await untilReady(api, node);
  });

  await t.test('what is retained outlives the master', async t => {
    await master.stop();
    await far?.stop();
    await near?.stop();
    await spare?.stop();
    const identity = await loadIdentity(await openFiles(dirOf('spare')));
    t.strictSame(
      identity?.masters,
      [{ host: '127.0.0.1', port }],
      'a node is told of the port for those who have joined',
    );
    if (identity === undefined) return;
    const bundle = readTrustBundle(trustDomain, identity.roots, identity.chainPem);
    const tls = () => clientTlsOptions(identity, bundle, 'tls');
    const dial = tlsDial({ tls, verifyServer: () => undefined }, { host: '127.0.0.1', port });
    const link = await open(t, dial, { clientId: 'far', keepaliveSeconds: () => 10 });
    const heard: string[] = [];
    for (const filter of [topics.policy, topics.manifest, topics.up('far', 'hb'), topics.down('far', 'ask'), '#'])
      link.subscribe(filter, topic => heard.push(topic));
    await until(
      'the signed documents are there',
      () => heard.includes(topics.policy) && heard.includes(topics.manifest),
    );

    await t.test('a node says and hears nothing but its own, whatever it calls itself', async t => {
      const denied = [topics.up('far', 'hb'), topics.down('far', 'ask'), topics.policy, topics.down('spare', 'ask')];
      for (const topic of denied) {
        // mosquitto acknowledges what it drops
        await link.publish(topic, Buffer.from('forged'), { qos: 1, retain: topic === topics.policy });
      }
      t.notOk(heard.includes(topics.up('far', 'hb')) || heard.includes(topics.down('far', 'ask')));
      for (const topic of denied) await untilSaid(`Denied PUBLISH from spare .*'${topic}'`);
      const again = await open(t, dial, { clientId: 'other', keepaliveSeconds: () => 10 });
      const policy = new Promise<string>(resolve => {
        again.subscribe(topics.policy, (_, payload) => resolve(Buffer.from(payload).toString()));
      });
      t.not(await policy, 'forged', 'the retained policy is as it was');
      await untilSaid('as spare \\(');
    });
  });

  await t.test('one who joins reaches its own question and answer, and no more', async t => {
    const again = await runMaster(t, config);
    const token = parseJoinString(await again.api.joinString());
    t.strictSame(token.addresses, [{ host: '127.0.0.1', port: joinPort }]);
    t.notOk('wssPort' in token);
    const parts = { tls: () => joinTlsOptions(), verifyServer: () => undefined };
    const link = await open(t, tlsDial(parts, { host: '127.0.0.1', port: joinPort }), {
      clientId: 'n1',
      username: token.id,
    });
    const heard: string[] = [];
    link.subscribe('#', topic => heard.push(topic));
    link.subscribe(topics.policy, topic => heard.push(topic));
    for (const topic of [
      topics.up('near', 'hb'),
      topics.joinRequest(token.id, 'n2'),
      topics.joinRequest('other', 'n1'),
    ]) {
      await link.publish(topic, Buffer.from('x'), { qos: 1 });
      await untilSaid(`Denied PUBLISH from n1 .*'${topic}'`);
    }
    t.strictSame(heard, []);
    // without a certificate the other port takes nobody
    await t.rejects(open(t, tlsDial(parts, { host: '127.0.0.1', port }), { clientId: 'n1', username: token.id }));
  });
});

/** A link that is up; rejects when its first attempt fails. */
async function open(t: Test, dial: Dial, settings: MqttLinkSettings): Promise<MqttLink> {
  const controller = new AbortController();
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => {});
  const parts = {
    dial,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    onFailure: (error: Error) => fail(error),
  };
  const link = new MqttLink(parts, settings);
  await link.start(controller.signal);
  t.teardown(async () => {
    controller.abort();
    await link.closed;
  });
  await Promise.race([untilUp(link, controller.signal), failed]);
  return link;
}

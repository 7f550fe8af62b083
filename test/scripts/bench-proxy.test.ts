import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type Case, cases } from '../../scripts/bench/proxy/cases.ts';
import { writeCredentials } from '../../scripts/bench/proxy/credentials.ts';
import { type BenchSettings, measureCase, measureIdle, startOrigin } from '../../scripts/bench/proxy/measure.ts';
import { peers } from '../../scripts/bench/proxy/peers.ts';
import { isInstalled } from '../../scripts/bench/proxy/processes.ts';

const skip = isInstalled('openssl') ? false : 'openssl is not installed';
const caseOf = (key: string): Case => {
  const found = cases.find(other => other.key === key);
  if (found === undefined) throw new Error(`no case ${key}`);
  return found;
};

t.test('every goal is about proxies that its case measures', async t => {
  for (const { key, proxies, goals } of cases) {
    for (const name of proxies) t.ok(peers[name] !== undefined, `${key}: ${name}`);
    for (const { own, peer } of goals) t.ok(proxies.includes(own) && proxies.includes(peer), `${key}: ${own}, ${peer}`);
  }
});

t.test('what a request costs in our proxy can be measured, on every way through it', { skip }, async t => {
  const dir = mkdtempSync(join(tmpdir(), 'mesolite-bench-test-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  writeCredentials(dir);
  const origin = await startOrigin(dir);
  t.teardown(() => origin.stop());
  const said: string[] = [];
  const say = (sentence: string) => said.push(sentence);
  const settings: BenchSettings = { dir, originPort: origin.port, rounds: 1, seconds: 0.5, say };
  for (const [key, name] of [
    ['post', 'mesolite'],
    ['chain', 'mesolite'],
    ['chain', 'mesolite-http1'],
    ['resumed', 'mesolite'],
    ['inbound', 'undici'],
    ['inbound', 'http-proxy'],
  ] as const) {
    const figures = (await measureCase(settings, { ...caseOf(key), proxies: [name] })).get(name);
    t.equal(figures?.errors, 0, `${key}, ${name}`);
    t.ok((figures?.cpuUs ?? 0) > 0, `${key}, ${name}`);
  }
  t.ok(((await measureIdle(settings, ['mesolite'], 20)).get('mesolite') ?? 0) > 20);
  t.same(said, []);
});

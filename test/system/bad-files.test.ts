/** Files that cannot be meant, by the real command and against the real master: refused with file, path and reason, and nothing is stored. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeHome, masterConfig, runMaster } from '../fixtures/fleet.ts';
import { job, policyFor } from '../fixtures/fleet-api.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { mesolite as run } from '../fixtures/fleet-process.ts';

const home = makeHome(t);
const { api, config } = await runMaster(t, await masterConfig(join(home, 'master'), new FreePorts()));
const mesolite = (...args: string[]) => run(args, { MESOLITE_CONFIG: join(home, 'config.yaml') });
const place = ['--ca', join(config.dataDir, 'ca.pem'), '--token-file', join(config.dataDir, 'operator.token')];
await mesolite('context', 'set', 'here', '--server', `https://127.0.0.1:${config.apiPort}`, ...place);

const good = job('good', { command: ['true'] });
const rules = (rule: object) => policyFor('good', 'policy', { action: 'DENY', rules: [rule] });

/** What is wrong, the document, and what is said of it after its file's name. */
const bad: Readonly<Record<string, readonly [object, RegExp]>> = {
  'unknown-field': [job('a', { command: ['true'], instnces: 2 }), /spec\.instnces: unknown field/],
  'wrong-type': [job('a', { command: 'true' }), /spec\.command: .*expected a list/],
  'negative-resource': [
    job('a', { command: ['true'], resources: { mem: -5 } }),
    /spec\.resources\.mem: expected 0 or more/,
  ],
  'bad-name': [job('Bad_Name', { command: ['true'] }), /metadata\.name: expected a name .* got "Bad_Name"/],
  'no-command': [job('a', { instances: 2 }), /spec: command: required, but missing/],
  'unknown-kind': [{ apiVersion: 'v1', kind: 'Gateway', metadata: { name: 'a' } }, /kind: Gateway is not supported/],
  'unknown-rule': [
    rules({ to: [{ operation: { verbs: ['GET'] } }] }),
    /spec\.rules\[0\]\.to\[0\]\.operation\.verbs: unknown field/,
  ],
};
/** Well formed, and still not to be meant: the master alone finds out. */
const block = rules({ from: [{ source: { ipBlocks: ['10.0.0.0/64'] } }] });
const fileOf = (name: string) => join(home, `${name}.yaml`);
// JSON is YAML
for (const [name, [document]] of Object.entries(bad)) writeFileSync(fileOf(name), JSON.stringify(document, null, 2));
writeFileSync(fileOf('bad-block'), JSON.stringify(block));
writeFileSync(fileOf('good'), JSON.stringify(good));
writeFileSync(fileOf('not-yaml'), 'kind: Job\n  metadata: {');

t.test('the command names each file with the path of what is wrong in it, and stores nothing', async t => {
  const files = [...Object.keys(bad), 'good'].flatMap(name => ['-f', fileOf(name)]);
  const { code, stdout, stderr } = await mesolite('apply', ...files);
  t.equal(code, 1);
  t.equal(stdout, '');
  for (const [name, [, reason]] of Object.entries(bad)) {
    const line = stderr.split('\n').find(line => line.includes(fileOf(name)));
    t.match(line, reason, name);
  }
  t.notMatch(stderr, fileOf('good'));
  t.strictSame(await api.documents(), []);
});

t.test('what is wrong with a single file is one sentence, whoever finds out', async t => {
  const sentences = {
    'not-yaml': /: line 1, column \d+: /,
    'bad-block': /: spec\.rules\[0\]\.from\[0\]\.source\.ipBlocks: .*10\.0\.0\.0\/64/,
  };
  for (const [name, sentence] of Object.entries(sentences)) {
    const { code, stderr } = await mesolite('apply', '-f', fileOf('good'), '-f', fileOf(name));
    t.equal(code, 1, name);
    t.ok(stderr.startsWith(`mesolite: ${fileOf(name)}: `), stderr);
    t.match(stderr, sentence);
    t.equal(stderr.trim().split('\n').length, 1, stderr);
  }
  t.strictSame(await api.documents(), []);
});

t.test('the master refuses the same without the command, all of a request for one', async t => {
  for (const [name, [document, reason]] of Object.entries(bad)) {
    await t.rejects(api.apply(good, document), { code: 'INVALID_INPUT', message: reason }, name);
  }
  await t.rejects(api.apply(good, block), { code: 'INVALID_INPUT', message: /^document 2: spec\.rules/ });
  t.strictSame(await api.documents(), []);
  t.strictSame(await api.tasks(), []);
});

t.test('a good file is taken by the same way', async t => {
  const { code, stdout } = await mesolite('apply', '-f', fileOf('good'));
  t.equal(code, 0);
  t.match(stdout, /good created/);
  t.equal((await api.documents()).length, 1);
});

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { isMesoliteError } from '../../src/base/errors.ts';
import { parseYaml } from '../../src/model/yaml-text.ts';
import { type ApiServer, startApiServer } from '../fixtures/api-server.ts';
import { type CliRun, run } from '../fixtures/cli-run.ts';

const job = (name: string, spec = 'command: [run]') => `apiVersion: mesolite/v1
kind: Job
metadata: { name: ${name} }
spec:
  ${spec}
`;

const policy = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny, namespace: edge }
spec: { action: DENY, rules: [{}] }
`;

interface User {
  readonly dir: string;
  readonly server: ApiServer;
  readonly mesolite: (argv: readonly string[], stdin?: string | Buffer) => Promise<CliRun>;
}

async function makeUser(t: Test, files: Record<string, string | Buffer | Record<string, string>> = {}): Promise<User> {
  const dir = t.testdir(files);
  const server = await startApiServer(t, dir);
  const here = { server: server.url, ca: server.caFile, tokenFile: server.tokenFile };
  writeFileSync(join(dir, 'config.yaml'), JSON.stringify({ current: 'here', contexts: { here } }));
  const env = { MESOLITE_CONFIG: join(dir, 'config.yaml') };
  return { dir, server, mesolite: (argv, stdin) => run(argv, { env, ...(stdin !== undefined && { stdin }) }) };
}

t.test('files, directories and standard input are applied together, in order', async t => {
  const { dir, server, mesolite } = await makeUser(t, {
    'one.yaml': `---\n${job('a')}---\n# nothing here\n---\n${policy}`,
    many: {
      'b.yml': job('b'),
      'c.json': '{"apiVersion":"mesolite/v1","kind":"Job","metadata":{"name":"c"},"spec":{"command":["x"]}}',
      'README.md': 'no',
    },
  });
  server.world.warnings = ['it selects nothing'];
  const argv = ['apply', '-f', join(dir, 'one.yaml'), '-f', join(dir, 'many'), '-f', '-'];
  const { code, out, err } = await mesolite(argv, job('d'));
  t.equal(code, 0, err);
  const expected = [
    'Job default/a',
    'AuthorizationPolicy edge/deny',
    'Job default/b',
    'Job default/c',
    'Job default/d',
  ];
  t.same(
    out.trim().split('\n'),
    expected.map(each => `${each} created`),
  );
  t.match(err, 'warning: Job default/a: it selects nothing\n');
  t.equal(server.calls.length, 1, 'one request, so that all or none are stored');
  t.match(JSON.parse((await mesolite([...argv, '-o', 'json'], job('d'))).out), { results: [{ name: 'a' }] });
});

t.test('what is wrong is named with file, document and path, all of it, and nothing is sent', async t => {
  const { dir, server, mesolite } = await makeUser(t, {
    'job.yaml': `${job('fine')}---\n${job('bad', 'command: [run]\n  resources: { cpus: -1 }')}`,
    'field.yaml': job('field', 'comand: [run]'),
    'type.yaml': job('type', 'command: true'),
    'name.yaml': job('Not_A_Name'),
    'kind.yaml': 'apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: g }\n',
    'policy.yaml':
      'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: p }\nspec: { rules: [{ when: [{ key: source.principals, values: [a] }] }] }\n',
    'scalar.yaml': 'hello',
  });
  const file = (name: string) => join(dir, name);
  const names = ['job.yaml', 'field.yaml', 'type.yaml', 'name.yaml', 'kind.yaml', 'policy.yaml', 'scalar.yaml'];
  const { code, out, err } = await mesolite(['apply', ...names.flatMap(name => ['-f', file(name)])]);
  t.same([code, out], [1, '']);
  const lines = err.trim().split('\n');
  t.equal(lines.length, 7);
  t.equal(lines[0], `mesolite: ${file('job.yaml')}: document 2: spec.resources.cpus: expected 0 or more, got -1`);
  t.match(lines[1], 'field.yaml: spec.comand: unknown field');
  t.match(lines[2], 'type.yaml: spec.command: ');
  t.match(lines[3], 'name.yaml: metadata.name: expected a name of 1 to 63 of a-z, 0-9 and "-", got "Not_A_Name"');
  t.match(lines[4], 'kind.yaml: kind: Gateway is not supported: publish the port of a job instead');
  t.match(lines[5], 'policy.yaml: spec.rules[0].when[0].key: "source.principals" is not an attribute: did you mean');
  t.match(lines[6], 'scalar.yaml: ');
  t.equal(server.calls.length, 0);
});

t.test('text that is no YAML is refused with line and column', async t => {
  const billion = ['a: &a [x,x,x,x,x,x,x,x,x,x]'];
  for (const [i, name] of [...'bcdefgh'].entries()) {
    const one = `*${'abcdefgh'[i]}`;
    billion.push(`${name}: &${name} [${Array(10).fill(one).join(',')}]`);
  }
  const { dir, mesolite } = await makeUser(t, {
    'tab.yaml': 'kind: Job\nspec:\n\tcommand: x\n',
    'twice.yaml': 'kind: Job\nkind: Job\n',
    'tag.yaml': 'kind: !secret Job\n',
    'laughs.yaml': billion.join('\n'),
    'deep.yaml': '['.repeat(200_000),
    'bytes.yaml': Buffer.from([0x6b, 0xff, 0xfe, 0x00]),
    'empty.yaml': '# only a remark\n',
    'large.yaml': `#${'x'.repeat(1024 * 1024)}`,
    folder: { 'README.md': 'no documents here' },
  });
  const cases: readonly (readonly [string, RegExp])[] = [
    ['tab.yaml', /tab\.yaml: line 3, column 1: /],
    ['twice.yaml', /twice\.yaml: line 2, column 1: a field that stands there already/],
    ['tag.yaml', /tag\.yaml: line 1, column 7: !secret means nothing here/],
    ['laughs.yaml', /laughs\.yaml: aliases that grow to too much/],
    ['deep.yaml', /deep\.yaml: line 1, column \d+: nested deeper than 100 levels/],
    ['bytes.yaml', /bytes\.yaml: not UTF-8 text/],
    ['empty.yaml', /empty\.yaml: no documents in it/],
    ['large.yaml', /large\.yaml: 1048577 bytes, at most 1048576 are taken/],
    ['folder', /folder: no \.yaml, \.yml or \.json files in it/],
    ['none.yaml', /none\.yaml: no such file/],
  ];
  for (const [name, expected] of cases) {
    const { code, err } = await mesolite(['apply', '-f', join(dir, name)]);
    t.equal(code, 1, name);
    t.match(err, expected);
    t.equal(err.trim().split('\n').length, 1, `${name}: one line`);
  }
  t.match((await mesolite(['apply', '-f', '-'], 'x'.repeat(1024 * 1024 + 1))).err, /standard input: more than 1048576/);
});

t.test('what the master refuses is said in its words', async t => {
  const { mesolite } = await makeUser(t);
  t.match(await mesolite(['apply', '-f', '-'], job('refused')), {
    code: 1,
    out: '',
    err: 'mesolite: Job default/refused: the master says no\n',
  });
});

t.test('a document is removed by kind and name, however the kind is written', async t => {
  const { server, mesolite } = await makeUser(t);
  const kinds = {
    job: 'Job',
    Jobs: 'Job',
    policy: 'AuthorizationPolicy',
    authorizationpolicies: 'AuthorizationPolicy',
  };
  for (const [word, kind] of Object.entries(kinds)) {
    t.match(await mesolite(['delete', word, 'x', '-n', 'edge']), { code: 0, out: `${kind} edge/x deleted\n` });
    t.equal(server.calls.at(-1)?.what, `DELETE /v1/documents/${kind}/edge/x`);
  }
  t.match(await mesolite(['delete', 'job', 'none']), { code: 1, err: 'mesolite: there is no Job default/none\n' });
  t.match(await mesolite(['delete', 'pod', 'x']), { code: 2, err: /pod is not a kind: expected one of Job, / });
  t.match(await mesolite(['delete', 'job']), { code: 2, err: /expected KIND and NAME, or -f FILE/ });
  t.match(await mesolite(['delete', 'job', 'x', '-f', '-'], job('x')), { code: 2, err: /not both/ });
});

t.test('all documents of a file are removed, though one is gone already', async t => {
  const { mesolite } = await makeUser(t);
  const { code, out, err } = await mesolite(['delete', '-f', '-'], `${job('none')}---\n${policy}`);
  t.same([code, out], [1, 'AuthorizationPolicy edge/deny deleted\n']);
  t.equal(err, 'mesolite: there is no Job default/none\n');
});

t.test('whatever the text is, it becomes documents or one of our errors', async () => {
  const piece = fc.constantFrom(
    'a',
    ': ',
    '- ',
    '\n',
    '  ',
    '[',
    ']',
    '{',
    '}',
    '&a ',
    '*a',
    '!!int',
    '|',
    '"',
    '---\n',
    '%',
    '?',
    '#',
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(piece, { maxLength: 40 }).map(pieces => pieces.join('')),
  );
  fc.assert(
    fc.property(text, input => {
      try {
        return Array.isArray(parseYaml(input, 'f'));
      } catch (error) {
        return isMesoliteError(error, 'INVALID_INPUT');
      }
    }),
    { seed: 5, numRuns: 3_000 },
  );
});

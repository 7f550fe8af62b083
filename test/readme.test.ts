/** README.md's commands are run as they stand there, its files are applied, and what it shows is compared with what comes. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseAllDocuments } from 'yaml';
import { decodeDocument } from '../src/model/document.ts';
import { codeIn, type Fence, fencesOf, tablesUnder } from './fixtures/markdown.ts';
import { type Outcome, openStage, type Stage } from './fixtures/readme-stage.ts';

const readme = readFileSync('README.md', 'utf8');
const fences = fencesOf(readme);

/** Blocks that no test can run, each with who runs it. */
const elsewhere: Readonly<Record<string, string>> = {
  'npm ci && npm run quickstart\n': '.ci/run, with --check',
  'npm ci && npm test\n': '.ci/run; a test cannot install what it runs on',
  'npm ci && npm pack\nnpm install --global ./mesolite-0.1.0.tgz\n': '.ci/run, into a directory of its own',
  'npm ci && npm run package\nsudo apt install ./build/packages/mesolite_0.1.0_all.deb ./build/packages/mesolite-master_0.1.0_amd64.deb\n':
    'scripts/check/packages.ts, in a copy of the machine; test/scripts/package.test.ts builds one',
  'curl -fsSL --cacert ca.pem https://master.lan:8443/install.sh | sudo sh -s -- --join-file pi-1.join -- --node pi-1\n':
    'test/system/install.test.ts, in a copy of the machine',
  'mesolite push mesolite-0.2.0.tgz\nmesolite apply -f agents.yaml --canary 10% --for 10m\n':
    'test/system/upgrade.test.ts, with a bundle that says that it is newer',
};

/** So often is a command run again that README.md shows the later output of. */
const maxRounds = 100;

t.test('every block of commands is run, here or elsewhere', async t => {
  for (const { language, marks, text, line } of fences) {
    if (language !== 'sh') continue;
    t.ok(
      marks.has('run') || marks.has('role') || text in elsewhere,
      `line ${line}: run here, or named with who runs it`,
    );
  }
  const ci = readFileSync('.ci/run', 'utf8');
  for (const command of ['npm ci', 'npm pack', 'npm test', 'npm run quickstart -- --check']) {
    t.ok(ci.includes(`\n${command}`), `.ci/run has ${command}`);
  }
});

t.test('every file of documents decodes, save the one that shows a refusal', async t => {
  for (const { language, marks, text, line } of fences) {
    if (language !== 'yaml' || marks.has('cases')) continue;
    for (const document of parseAllDocuments(text)) {
      const decode = () => decodeDocument(document.toJS(), `line ${line}`);
      if (marks.has('refused')) t.throws(decode);
      else t.doesNotThrow(decode, `line ${line}`);
    }
  }
});

const hasCurl = spawnSync('curl', ['--version']).status === 0;

t.test('the commands do what README.md says', { skip: hasCurl ? false : 'curl is not here' }, async t => {
  const stage = openStage(t.testdir());
  try {
    await perform(t, stage);
  } finally {
    await stage.close();
  }
});

async function perform(t: Test, stage: Stage): Promise<void> {
  let last: Outcome = { code: 0, stdout: '', text: '' };
  for (const fence of fences) {
    const role = fence.marks.get('role');
    if (role === 'master' || role === 'agent') await stage.start(role, fence.text);
    else if (fence.marks.has('file')) writeFileSync(join(stage.directory, fence.marks.get('file') ?? ''), fence.text);
    else if (fence.marks.has('run')) last = await carryOut(t, stage, fence);
    else if (fence.marks.has('like')) compare(t, fence, last);
  }
  await t.test('the tables of files have what is there', async t => compareFiles(t, stage));
  await t.test('the table of paths is that of /openapi.json', async t => comparePaths(t, await openApiPaths(stage)));
  await untilNothingLives(t, stage);
}

/** Runs a block, and again until it prints what it is to show. */
async function carryOut(t: Test, stage: Stage, { text, line, marks }: Fence): Promise<Outcome> {
  const wanted = new RegExp(marks.get('until') ?? '', 's');
  const code = Number(marks.get('exit') ?? 0);
  let outcome = await stage.run(text);
  for (let round = 1; round < maxRounds && outcome.code === code && !wanted.test(outcome.text); round++) {
    outcome = await stage.run(text);
  }
  t.equal(outcome.code, code, `line ${line}: ${text.trim()}\n${outcome.text}`);
  t.match(outcome.text, wanted, `line ${line}: shows ${wanted.source}`);
  const list = marks.get('json');
  if (list !== undefined) t.ok(Array.isArray(JSON.parse(outcome.stdout)[list]), `line ${line}: a list of ${list}`);
  return outcome;
}

/** Words with a digit are this run's own: times, ids, sizes. All others must come as they are shown. */
function compare(t: Test, { text, line }: Fence, outcome: Outcome): void {
  const came = new Set(outcome.text.split(/\s+/));
  for (const word of text.split(/\s+/)) {
    if (word === '' || /[\d…]/.test(word) || came.has(word)) continue;
    // what a board is called is not the same everywhere
    if (word !== 'virtual-machine') t.fail(`line ${line}: shows ${word}, which does not come in:\n${outcome.text}`);
  }
  t.pass(`line ${line}: as it comes`);
}

function compareFiles(t: Test, { directory }: Stage): void {
  const names = tablesUnder(readme, 'Files').flatMap(({ rows }) => rows.flatMap(([cell = '']) => codeIn(cell)));
  const known = names.map(name => (name.endsWith('…') ? name.slice(0, -1) : (name.split('/')[0] ?? '')));
  for (const role of ['master', 'agent']) {
    for (const file of readdirSync(join(directory, '.mesolite', role))) {
      const name = file.replace(/~(previous|new)$|-wal$/, '');
      t.ok(
        known.some(each => name === each || (/[-.]$/.test(each) && name.startsWith(each))),
        `${role}: ${file}`,
      );
    }
  }
}

function comparePaths(t: Test, paths: Readonly<Record<string, object>>): void {
  const served = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`),
  );
  const [table] = tablesUnder(readme, 'The HTTP API').filter(({ head }) => head[0] === 'path');
  t.same((table?.rows ?? []).map(([cell = '']) => codeIn(cell)[0]).sort(), served.sort());
}

async function openApiPaths({ directory, run }: Stage): Promise<Record<string, object>> {
  const { stdout } = await run('mesolite context list -o json');
  const { contexts }: { contexts: { server: string }[] } = JSON.parse(stdout);
  const ca = readFileSync(join(directory, '.mesolite', 'master', 'ca.pem'));
  const text = await new Promise<string>((resolve, reject) => {
    const asked = request(`${contexts[0]?.server}/openapi.json`, { ca, agent: false }, response => {
      let body = '';
      response.setEncoding('utf8').on('data', piece => {
        body += piece;
      });
      response.on('end', () => resolve(body));
    });
    asked.on('error', reject).end();
  });
  return JSON.parse(text).paths;
}

async function untilNothingLives(t: Test, stage: Stage): Promise<void> {
  for (let round = 0; round < maxRounds && stage.livingTasks().length > 0; round++)
    await stage.run('mesolite get tasks');
  t.same(stage.livingTasks(), [], 'deleted jobs leave no process');
}

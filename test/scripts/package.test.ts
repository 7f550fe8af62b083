import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import t from 'tap';
import { buildDeb } from '../../scripts/package/deb.ts';
import { agentPackage } from '../../scripts/package/packages.ts';
import { readRuntimes } from '../../scripts/package/runtime.ts';
import { defaultRuntime, nodeFlagsOf, printRuntime } from '../../src/model/runtime.ts';

const isThere = (program: string) => spawnSync(program, ['--version']).error === undefined;
const run = (program: string, ...args: string[]) => execFileSync(program, args, { encoding: 'utf8' });
process.env.SOURCE_DATE_EPOCH = '1700000000';

t.test(
  'a package has the program, its units and its settings, and is the same when it is built again',
  { skip: isThere('dpkg-deb') ? false : 'dpkg-deb is not installed' },
  async t => {
    const home = t.testdir({ one: {}, other: {} });
    const made = agentPackage('1.2.3');
    const paths = ['one', 'other'].map(name => buildDeb(made, join(home, name)));
    const [deb = '', again = ''] = paths;
    t.equal(basename(deb), 'mesolite_1.2.3_all.deb');
    t.ok(readFileSync(deb).equals(readFileSync(again)));
    t.match(run('dpkg-deb', '--field', deb), /^Depends: .*nodejs \(>= 20\.11\)$/m);
    const tree = join(home, 'tree');
    run('dpkg-deb', '--raw-extract', deb, tree);
    t.equal(readFileSync(join(tree, 'DEBIAN/conffiles'), 'utf8'), '/etc/default/mesolite-agent\n');
    t.match(run(process.execPath, join(tree, 'usr/lib/mesolite/build/dist/main.js'), 'version'), /^mesolite \d/);
    t.match(readFileSync(join(tree, 'usr/bin/mesolite'), 'utf8'), 'exec /usr/bin/node /usr/lib/mesolite/');
    t.notMatch(run('dpkg-deb', '--contents', deb), / (?!root\/root)\S+\/\S+ +\d/, 'all is of root');
  },
);

t.test('a Node that comes into a package is one file, new enough, and what its sum says', async t => {
  const home = t.testdir({ 'node-none': 'no program', 'SHASUMS256.txt': `${'0'.repeat(64)}  node-none\n`, empty: {} });
  t.throws(() => readRuntimes(join(home, 'node-none'), undefined), /expected sha256 0000/);
  t.throws(() => readRuntimes(join(home, 'SHASUMS256.txt'), undefined), /expected its sha256/);
  t.throws(() => readRuntimes(join(home, 'empty'), undefined), /no archive of Node/);
  const sum = '4f3c2ab6c3f2ee2ae2ee4c9f7c6ef2aa'.padEnd(64, '0');
  t.throws(() => readRuntimes(join(home, 'node-none'), sum), /expected sha256 4f3c/);
});

t.test(
  'systemd takes the units, and finds little that they let a program do',
  { skip: isThere('systemd-analyze') ? false : 'systemd-analyze is not installed' },
  async t => {
    const home = t.testdir();
    const units = [
      'mesolite-agent.service',
      'mesolite-agent.socket',
      'mesolite-agent-outbound.socket',
      'mesolite-master.service',
    ];
    for (const unit of units) {
      const text = readFileSync(join('scripts/package/systemd', unit), 'utf8');
      const started = text.replaceAll('=/usr/bin/mesolite', `=${process.execPath}`);
      writeFileSync(join(home, unit), started.replaceAll('@HOME@', resolve('scripts/package')));
    }
    const paths = units.map(unit => join(home, unit));
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', ...paths], { encoding: 'utf8' });
    const complaints = stderr.split('\n').filter(line => line !== '' && !line.includes("'DelegateSubgroup'"));
    t.same(complaints, [], 'an older systemd leaves out what it does not know');
    t.equal(status, 0);
    for (const path of paths.filter(each => each.endsWith('.service'))) {
      const score = spawnSync('systemd-analyze', ['security', '--offline=true', '--threshold=25', path]);
      t.equal(score.status, 0, `${basename(path)} is at 2.5 or below`);
    }
  },
);

t.test('the agent is started as its profile says, by what a task cannot turn against it', async t => {
  const home = t.testdir({
    node: 'echo "$* $MALLOC_ARENA_MAX $(printenv MESOLITE_NODE_FLAGS || echo none)"\n',
    secret: 'MALLOC_ARENA_MAX="7"\n',
    data: {},
  });
  const [script, kept, secret] = [join(home, 'start-agent'), join(home, 'data/runtime'), join(home, 'secret')];
  const filled = readFileSync('scripts/package/start-agent', 'utf8')
    .replace('/var/lib/mesolite-agent', join(home, 'data'))
    .replace('@NODE@', `sh ${join(home, 'node')}`)
    .replace('@PROGRAM@', 'main.js');
  writeFileSync(script, filled);
  const start = (env = {}) => {
    const { stdout } = spawnSync('sh', [script, '--label', 'a=b c'], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, ...env },
    });
    return stdout.trim();
  };
  const expected = (flags: string, arenas: string, told = flags) =>
    `${flags} main.js agent --data ${join(home, 'data')} --label a=b c ${arenas} ${told}`;
  const plain = '--max-semi-space-size=1 --v8-pool-size=0 --expose-gc';
  t.equal(start(), expected(plain, '1'), 'without the file');

  const runtime = { ...defaultRuntime, youngMb: 64, heapMb: 65_536, v8Threads: 16, mallocArenas: 64 };
  const flags = nodeFlagsOf(runtime).join(' ');
  const content = `mesolite-file ${'0'.repeat(64)} 1\n${printRuntime(runtime)}`;
  writeFileSync(kept, content);
  t.equal(start(), expected(flags, '64'));
  t.equal(start({ MALLOC_ARENA_MAX: '2' }), expected(flags, '2', 'none'), 'what the operator says goes before it');
  t.equal(start({ MESOLITE_NODE_FLAGS: '--expose-gc' }), expected('--expose-gc', '64', 'none'));

  writeFileSync(kept, `${content.replace('--expose-gc', '--require=/tmp/x')}NODE_OPTIONS="--inspect"\nPATH="/tmp"\n`);
  t.equal(start(), expected(plain, '64'));
  rmSync(kept);
  symlinkSync(secret, kept);
  t.equal(start(), expected(plain, '1'), 'a link is not followed');
  rmSync(kept);
  execFileSync('mkfifo', [kept]);
  t.equal(start(), expected(plain, '1'), 'nobody is waited for');
  rmSync(kept);
  writeFileSync(kept, content);
  truncateSync(kept, 2 ** 40);
  t.equal(start(), expected(flags, '64'), 'no more of it is read than it may have');
});

const scripts = [
  'install.sh',
  'mesolite',
  'mesolite-join',
  'start-agent',
  ...['postinst', 'prerm', 'postrm'].map(name => `debian/${name}`),
];
const paths = scripts.map(name => join('scripts/package', name));

t.test('the scripts are those of any sh', async t => {
  for (const path of paths) t.equal(spawnSync('sh', ['-n', path]).status, 0, path);
});

t.test(
  'shellcheck has nothing to say',
  { skip: isThere('shellcheck') ? false : 'shellcheck is not installed' },
  async t => {
    const { stdout } = spawnSync('shellcheck', paths, { encoding: 'utf8' });
    t.equal(stdout, '');
  },
);

/**
 * Runs Mesolite as the processors of boards would: tests of units, the quickstart, and the Debian packages with a master, an agent and a task,
 * in a Debian of each architecture under qemu-user. `--arch arm64|armhf` (both), `--short` (pure tests alone), `--cases N` a property,
 * `--cache DIR` (or MESOLITE_CACHE) keeps the Debians, 0.4 GB each; `--json` prints one object a row. Needs root; the exit code is 1 when
 * something does not hold.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Architecture, emulationPrograms, registerEmulator, runEmulated } from './arm/emulation.ts';
import { readTap, type TestGroup, testGroups } from './arm/unit-tests.ts';
import { insistOn } from './debian/needs.ts';
import { type Ended, runProgram } from './debian/program.ts';
import { makeTree, treePrograms } from './debian/tree.ts';
import { printRow, type Row, say } from './rows.ts';
import { wholeNumber } from './whole-number.ts';

const { values } = parseArgs({
  options: {
    arch: { type: 'string', multiple: true, default: ['arm64', 'armhf'] },
    cache: { type: 'string', default: process.env.MESOLITE_CACHE ?? join(tmpdir(), 'mesolite-debian') },
    cases: { type: 'string', default: '20' },
    json: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: ['tests', 'quickstart', 'packages'] },
    short: { type: 'boolean', default: false },
  },
});
const cache = resolve(values.cache);
const cases = String(wholeNumber(values.cases));
const wholeMs = 1_800_000;
const parallel = 2;

function isArchitecture(text: string): text is Architecture {
  return text === 'arm64' || text === 'armhf';
}

/** What of the machine npm puts beside our program: the database's library, for another architecture than this. */
async function libraryFor(architecture: Architecture): Promise<string> {
  const { packages }: { packages: Record<string, { readonly version: string } | undefined> } = JSON.parse(
    readFileSync('package-lock.json', 'utf8'),
  );
  const version = packages['node_modules/libsql']?.version;
  const name = `@libsql/${architecture === 'arm64' ? 'linux-arm64-gnu' : 'linux-arm-gnueabihf'}@${version}`;
  const folder = join(cache, `library-${architecture}-${version}`);
  mkdirSync(folder, { recursive: true });
  await runProgram('npm', [
    'install',
    '--silent',
    '--force',
    '--no-save',
    '--no-package-lock',
    '--prefix',
    folder,
    name,
  ]);
  return folder;
}

function report(row: Pick<Row, 'case' | 'value' | 'unit' | 'goal' | 'met'>, why: readonly string[] = []): void {
  const whole = { ...row, peer: null, ratio: null };
  if (values.json) printRow(whole);
  else say(`${row.met ? 'holds        ' : 'DOES NOT HOLD'}  ${row.case}: ${row.value} of ${row.goal} ${row.unit}`);
  for (const line of why) process.stderr.write(`  ${line}\n`);
  if (!row.met) process.exitCode = 1;
}

type Run = (command: readonly string[], env?: Readonly<Record<string, string>>) => Promise<Ended>;

async function check(architecture: Architecture): Promise<void> {
  const library = await libraryFor(architecture);
  const unregister = await registerEmulator(architecture);
  try {
    const tree = await makeTree({ architecture, packages: ['nodejs', 'adduser'], cache, isConfigured: false });
    const system = { tree, project: [library, resolve('.')], cache };
    const run: Run = (command, env = {}) => runEmulated(system, command, { env, timeoutMs: wholeMs });
    if (values.only.includes('tests')) await runTests(architecture, testGroups(values.short), run);
    if (values.short) return;
    if (values.only.includes('quickstart')) {
      const quickstart = ['build/scripts/quickstart/quickstart.js', '--check', '--data', '/root/quickstart'];
      await runWhole(`${architecture}: quickstart`, run(['node', ...quickstart], { MESOLITE_PATIENCE: '20' }));
    }
    if (values.only.includes('packages')) {
      const installed = ['node', 'build/scripts/check/arm/installed.js'];
      await runWhole(`${architecture}: packages, a master, an agent and a task`, run(installed));
    }
  } finally {
    unregister();
  }
}

async function runTests(architecture: Architecture, groups: readonly TestGroup[], run: Run): Promise<void> {
  const left = [...groups];
  const env = {
    TAP_TIMEOUT: '1800',
    MESOLITE_CASES: cases,
    NODE_OPTIONS: '--import=/mesolite/build/scripts/without-loader.js',
  };
  const work = async (): Promise<void> => {
    for (let group = left.shift(); group !== undefined; group = left.shift()) {
      const command = ['node', 'build/scripts/check/arm/room.js', ...group.files];
      const { passed, failed, skipped, failures } = readTap(await run(command, env));
      const row = { value: passed, unit: skipped > 0 ? `tests (${skipped} skipped)` : 'tests', goal: passed + failed };
      report({ case: `${architecture}: ${group.name}`, ...row, met: failed === 0 }, failures);
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
}

/** One whole program, which says itself what does not hold. */
async function runWhole(name: string, ended: Promise<Ended>): Promise<void> {
  const { code, output } = await ended;
  const met = code === 0;
  const why = met ? [] : output.trim().split('\n').slice(-8);
  report({ case: name, value: met ? 1 : 0, unit: 'runs', goal: 1, met }, why);
}

insistOn({ ...treePrograms, ...emulationPrograms });
const unknown = values.arch.find(each => !isArchitecture(each));
if (unknown !== undefined) throw new Error(`--arch: expected arm64 or armhf, got ${unknown}`);
for (const architecture of values.arch.filter(isArchitecture)) await check(architecture);

/**
 * Runs Mesolite as the processors of boards would: tests of units, the quickstart, and the Debian packages with a master, an agent and tasks,
 * in a Debian of each architecture under qemu-user. `--arch arm64|armhf` (both; `amd64` shows the same without an emulator), `--only
 * tests|quickstart|packages` (all), `--room NAME` of tests (all that are run), `--cases N` a property, `--minutes N` for each architecture (120),
 * after which it is given up; `--cache DIR` (or MESOLITE_CACHE) keeps the Debians, 0.5 GB each, and what was said last; `--json` prints one
 * object a row. Needs root; the exit code is 1 when something does not hold.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Architecture, emulationPrograms, registerEmulator, runEmulated } from './arm/emulation.ts';
import { buildPackages, fetchNative, packagePrograms } from './arm/packages.ts';
import { readTap, rooms, testsIn } from './arm/unit-tests.ts';
import { insistOn } from './debian/needs.ts';
import type { Ended } from './debian/program.ts';
import { makeTree, treePrograms } from './debian/tree.ts';
import { printRow, type Row, say } from './rows.ts';
import { wholeNumber } from './whole-number.ts';

const { values } = parseArgs({
  options: {
    arch: { type: 'string', multiple: true, default: ['arm64', 'armhf'] },
    cache: { type: 'string', default: process.env.MESOLITE_CACHE ?? join(tmpdir(), 'mesolite-debian') },
    cases: { type: 'string', default: '20' },
    json: { type: 'boolean', default: false },
    minutes: { type: 'string', default: '120' },
    only: { type: 'string', multiple: true, default: ['tests', 'quickstart', 'packages'] },
    room: { type: 'string', multiple: true, default: rooms },
  },
});
const cache = resolve(values.cache);
const cases = String(wholeNumber(values.cases));
const wholeMs = wholeNumber(values.minutes) * 60_000;
/** What the packages depend on; a Node of nodejs.org wants libatomic1 where Debian's does not. */
const packages = ['nodejs', 'adduser', 'libatomic1'];
const parallel = 2;
/** A processor that is computed takes its time. */
const patience = { MESOLITE_PATIENCE: '20' };

function isArchitecture(text: string): text is Architecture {
  return text === 'amd64' || text === 'arm64' || text === 'armhf';
}

function report(row: Pick<Row, 'case' | 'value' | 'unit' | 'goal' | 'met'>, why: readonly string[] = []): void {
  const whole = { ...row, peer: null, ratio: null };
  if (values.json) printRow(whole);
  else say(`${row.met ? 'holds        ' : 'DOES NOT HOLD'}  ${row.case}: ${row.value} ${row.unit}`);
  for (const line of why) process.stderr.write(`  ${line}\n`);
  if (!row.met) process.exitCode = 1;
}

/** Runs a command in the system of a board, and keeps what it said as `name`. */
type Run = (name: string, command: readonly string[], env?: Readonly<Record<string, string>>) => Promise<Ended>;

async function check(architecture: Architecture): Promise<void> {
  const [start, before] = [performance.now(), childSeconds()];
  const native = await fetchNative(architecture, cache);
  const above = join(cache, `above-${architecture}`);
  const unregister = await registerEmulator(architecture);
  try {
    const tree = await makeTree({ architecture, packages, cache, isConfigured: false });
    const system = { tree, project: [above, native, resolve('.')], cache };
    rmSync(above, { recursive: true, force: true });
    const jobs = join('scripts', 'quickstart');
    mkdirSync(join(above, jobs), { recursive: true });
    for (const file of ['hello.yaml', 'batch.yaml']) {
      writeFileSync(join(above, jobs, file), withRoom(readFileSync(join(jobs, file), 'utf8')));
    }
    const run: Run = async (name, command, env = {}) => {
      const timeoutMs = Math.max(1, Math.ceil(start + wholeMs - performance.now()));
      const ended = await runEmulated(system, command, { env, timeoutMs });
      writeFileSync(join(cache, `${architecture}-${name}.log`), ended.output);
      return ended;
    };
    if (values.only.includes('tests')) await runTests(architecture, run);
    if (values.only.includes('quickstart')) await runQuickstart(architecture, run);
    if (values.only.includes('packages')) {
      buildPackages(architecture, native, join(above, 'packages'));
      await runPackages(architecture, run);
    }
  } finally {
    unregister();
  }
  const minutes = oneDigit((performance.now() - start) / 60_000);
  const unit = `minutes (${oneDigit((childSeconds() - before) / 60)} of processors)`;
  report({ case: `${architecture}: all of it`, value: minutes, unit, goal: wholeMs / 60_000, met: true });
}

const oneDigit = (value: number) => Math.round(value * 10) / 10;

/** What all that this process has started, and that has ended, took of processors: fields 16 and 17 of proc_pid_stat(5), in clock ticks. */
function childSeconds(): number {
  const fields = readFileSync('/proc/self/stat', 'latin1').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[13]) + Number(fields[14])) / 100;
}

/** What an emulator has translated of a program is in the memory of that: each task may have four times as much. */
function withRoom(job: string): string {
  return job.replace(/\bmem: (\d+)/g, (_, mb: string) => `mem: ${4 * Number(mb)}`);
}

async function runTests(architecture: Architecture, run: Run): Promise<void> {
  const left = [...values.room];
  const env = {
    TAP_TIMEOUT: '7200',
    MESOLITE_CASES: cases,
    NODE_OPTIONS: '--import=/mesolite/build/scripts/without-loader.js',
  };
  const work = async (): Promise<void> => {
    for (let room = left.shift(); room !== undefined; room = left.shift()) {
      const command = ['node', 'build/scripts/check/arm/room.js', ...testsIn(room)];
      const { passed, failed, skipped, failures } = readTap(await run(room, command, env));
      const row = { value: passed, unit: skipped > 0 ? `tests (${skipped} skipped)` : 'tests', goal: passed + failed };
      report({ case: `${architecture}: ${room}`, ...row, met: failed === 0 }, failures);
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
}

async function runQuickstart(architecture: Architecture, run: Run): Promise<void> {
  const command = ['node', 'build/scripts/quickstart/quickstart.js', '--check', '--data', '/root/quickstart'];
  const { code, output } = await run('quickstart', command, patience);
  const steps = output.split('\n').filter(line => line.startsWith('  ✓')).length;
  const row = { case: `${architecture}: quickstart`, value: steps, unit: 'steps', goal: steps + (code === 0 ? 0 : 1) };
  report({ ...row, met: code === 0 }, code === 0 ? [] : output.trim().split('\n').slice(-8));
}

/** Its rows are ours. */
async function runPackages(architecture: Architecture, run: Run): Promise<void> {
  const { code, output } = await run('packages', ['node', 'build/scripts/check/arm/installed.js'], patience);
  const [rows, rest] = [true, false].map(isRow =>
    output.split('\n').filter(line => line.startsWith('{"case"') === isRow),
  );
  for (const line of rows ?? []) {
    const row: Row = JSON.parse(line);
    report({ ...row, case: `${architecture}: ${row.case}` });
  }
  if (code !== 0)
    report({ case: `${architecture}: packages`, value: 0, unit: 'runs', goal: 1, met: false }, rest?.slice(-8));
}

const unknown = values.arch.find(each => !isArchitecture(each));
if (unknown !== undefined) throw new Error(`--arch: expected arm64, armhf or amd64, got ${unknown}`);
const architectures = values.arch.filter(isArchitecture);
insistOn({ ...treePrograms, ...packagePrograms, ...emulationPrograms(architectures) });
for (const architecture of architectures) await check(architecture);

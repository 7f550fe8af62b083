/** Runs tap on the compiled tests and ends with the plain line `N passed, N failed`. Arguments are test files (as tap takes them). */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** So many lines of what tap says of a failure are shown. */
const maxLines = 40;

const bin = (name: string) => join('node_modules', '.bin', name);
const report = mkdtempSync(join(tmpdir(), 'mesolite-test-'));

try {
  if (!isTapBuilt()) {
    rmSync('.tap', { recursive: true, force: true });
    const built = spawnSync(bin('tap'), ['build'], { stdio: ['ignore', 'ignore', 'inherit'] });
    if (built.status !== 0) throw new Error('tap build failed');
  }
  const files = process.argv.slice(2);
  const output = join(report, 'output.tap');
  const defaults = ['build/test/imports.js', 'build/test/**/*.test.js'];
  const run = spawnSync(
    bin('tap'),
    ['run', '--reporter=terse', `--output-file=${output}`, ...(files.length > 0 ? files : defaults)],
    {
      stdio: 'inherit',
      env: { ...process.env, NODE_OPTIONS: `--import=${pathToFileURL(resolve('build/scripts/without-loader.js'))}` },
    },
  );
  const text = existsSync(output) ? readFileSync(output, 'utf8') : '';
  const counts = [...text.matchAll(/^# \{ total: (.*) \}$/gm)].at(-1)?.[0] ?? '';
  const count = (word: string) => Number(new RegExp(`${word}: (\\d+)`).exec(counts)?.[1] ?? 0);
  const skipped = count('skip');
  const failed = Math.max(count('fail'), run.status === 0 ? 0 : 1);
  const lines = [...text.matchAll(/# SKIP (.*)$/gm)].map(match => match[1]);
  for (const line of new Set(lines)) console.log(`skipped: ${line}`);
  // tap has shown them too, yet in a terminal's way: where nobody looks on, its lines are written over
  for (const failure of failuresIn(text)) console.log(`failed: ${failure}`);
  console.log(`${count('pass')} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  process.exitCode = failed > 0 ? 1 : 0;
} finally {
  rmSync(report, { recursive: true, force: true });
}

/**
 * tap builds its test class from the plugin list of .taprc into node_modules and .tap, with links between the two: not there in a
 * fresh clone, broken after another `npm ci`, and led elsewhere in a folder that was copied.
 */
function isTapBuilt(): boolean {
  const plugins = join('.tap', 'plugins', 'node_modules');
  return (
    leadsTo(join('node_modules', '@tapjs', 'test', 'test-built', 'node_modules'), plugins) &&
    leadsTo(join(plugins, '@tapjs', 'core'), join('node_modules', '@tapjs', 'core'))
  );
}

function leadsTo(link: string, target: string): boolean {
  return existsSync(link) && existsSync(target) && realpathSync(link) === realpathSync(target);
}

/** What failed in a TAP text, each as `file > test > assertion` with what tap says of it; what fails only because something in it did is left out. */
function failuresIn(tap: string): string[] {
  const names: string[] = [];
  const failures: string[] = [];
  const lines = tap.split('\n');
  let last = 0;
  lines.forEach((line, at) => {
    const [, indent = '', subtest, failed] = /^( *)(?:# Subtest: (.*)|not ok \d+(?: - (.*))?)$/.exec(line) ?? [];
    const depth = indent.length / 4;
    if (subtest !== undefined) names.splice(depth, names.length, subtest);
    else if (line.trimStart().startsWith('not ok') && !/# (TODO|SKIP)/i.test(line)) {
      if (depth >= last) {
        const name = [...names.slice(0, depth), failed?.replace(/ # time=.*$/, '')].join(' > ');
        failures.push([name, ...detailsBehind(lines, at + 1, indent)].join('\n'));
      }
      last = depth;
    }
  });
  return failures;
}

function detailsBehind(lines: readonly string[], from: number, indent: string): readonly string[] {
  if (lines[from] !== `${indent}  ---`) return [];
  const end = lines.indexOf(`${indent}  ...`, from);
  return lines.slice(from + 1, Math.min(end, from + 1 + maxLines));
}

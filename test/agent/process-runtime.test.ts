import { execFileSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { keepRuntime, runtimeOfNext } from '../../src/agent/process-runtime.ts';
import { silentLog } from '../../src/base/log.ts';
import { openFiles } from '../../src/device/files.ts';
import { ownProgram } from '../../src/device/handover.ts';
import { defaultRuntime, mallocOf, nodeFlagsOf, parseRuntime, printRuntime } from '../../src/model/runtime.ts';

const runtime = { ...defaultRuntime, heapMb: 128 };
const flags = '--max-semi-space-size=1 --max-old-space-size=128 --v8-pool-size=0 --expose-gc';

t.test('what a profile says of the process is what Node and malloc are told, and can be read again', async t => {
  t.equal(nodeFlagsOf(runtime).join(' '), flags);
  const malloc = { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '131072', MALLOC_TRIM_THRESHOLD_: '65536' };
  t.same(mallocOf(runtime), malloc);
  const printed = printRuntime(runtime);
  t.same(parseRuntime(printed), { nodeFlags: flags.split(' '), env: { MESOLITE_NODE_FLAGS: flags, ...malloc } });
  const others =
    'NODE_OPTIONS="--inspect"\nMESOLITE_NODE_FLAGS="--inspect --require=/tmp/x.js"\nMALLOC_ARENA_MAX="x"\n';
  t.same(parseRuntime(others), { nodeFlags: [], env: { MESOLITE_NODE_FLAGS: '' } });
});

t.test('Node takes the flags, and its heap has that bound', async t => {
  const script = 'console.log(require("node:v8").getHeapStatistics().heap_size_limit / 2 ** 20, typeof gc)';
  const [limitMb = '', collects] = execFileSync(process.execPath, [...nodeFlagsOf(runtime), '-e', script], {
    encoding: 'utf8',
  }).split(/\s/);
  t.ok(Number(limitMb) >= 128 && Number(limitMb) < 192, limitMb);
  t.equal(collects, 'function');
});

t.test('it is kept where the next process is started by it: as a shell reads it', async t => {
  const directory = t.testdir({});
  await keepRuntime(await openFiles(directory), { runtime }, silentLog);
  const shell = `tail -n +2 ${join(directory, 'runtime')} >vars; . ./vars; echo "$MESOLITE_NODE_FLAGS $MALLOC_ARENA_MAX"`;
  t.equal(execFileSync('sh', ['-c', shell], { cwd: directory, encoding: 'utf8' }), `${flags} 1\n`);
  t.equal(runtimeOfNext(directory, {}), undefined, 'one that no unit has started is followed by one like it');
  const next = runtimeOfNext(directory, { MESOLITE_NODE_FLAGS: '--expose-gc' });
  t.same(next?.nodeFlags, flags.split(' '));
  const other = t.testdir({ none: {} });
  t.equal(runtimeOfNext(other, { MESOLITE_NODE_FLAGS: '' }), undefined);
  symlinkSync(join(directory, 'runtime'), join(other, 'runtime'));
  t.equal(runtimeOfNext(other, { MESOLITE_NODE_FLAGS: '' }), undefined, 'a link is not followed');
});

t.test('flags of a process that takes over replace those of their names', async t => {
  const own = process.execArgv;
  t.teardown(() => {
    process.execArgv = own;
  });
  process.execArgv = ['--max-old-space-size=64', '--enable-source-maps'];
  const args = ownProgram(['--max-old-space-size=128']);
  t.same(args.slice(0, 2), ['--enable-source-maps', '--max-old-space-size=128']);
  t.same(args.slice(2), process.argv.slice(1));
});

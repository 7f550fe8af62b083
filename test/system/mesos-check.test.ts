import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';

const run = promisify(execFile);

t.test('a framework written from the description of the API alone lives its whole life', async t => {
  // a step that does not hold says why
  const { stdout }: { stdout: string } = await run(process.execPath, ['build/scripts/check/mesos.js', '--json']).catch(
    error => error,
  );
  const rows = stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
  t.equal(rows.length, 10);
  for (const row of rows) t.ok(row.met, row.case);
});

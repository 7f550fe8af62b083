import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';

const run = promisify(execFile);

t.test('a framework written from the description of the API alone lives its whole life', async t => {
  const { stdout } = await run(process.execPath, ['build/scripts/check/mesos.js', '--json']);
  const rows = stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
  t.equal(rows.length, 10);
  for (const row of rows) t.ok(row.met, row.case);
});

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';

const run = promisify(execFile);

t.test('a short check of the proxy under pushes, churn and drains finds nothing wrong', async t => {
  const { stdout } = await run(process.execPath, ['build/scripts/check/proxy.js', '--requests', '3000', '--json']);
  const rows = stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
  t.equal(rows.length, 3);
  t.match(rows[0], { case: 'wrong verdicts', value: 0, unit: 'of 3000 requests', met: true });
  t.match(rows[1], { case: 'answers to another request, or damaged', value: 0, met: true });
});

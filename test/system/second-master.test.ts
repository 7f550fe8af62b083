/** Two masters where there can be one: the second says why it does not start, and the first does not notice. */
import { join } from 'node:path';
import t from 'tap';
import { makeHome, masterConfig, runMaster } from '../fixtures/fleet.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { startMasterProcess } from '../fixtures/fleet-process.ts';

const home = makeHome(t);
const ports = new FreePorts();
const first = await runMaster(t, await masterConfig(join(home, 'first'), ports));
const other = await masterConfig(join(home, 'second'), ports);

const cases = [
  [
    'the same directory',
    { dataDir: first.config.dataDir },
    /cannot open the database .*: another process has it open: is a master running on this directory already\?/,
  ],
  [
    'the same port of the API',
    { apiPort: first.config.apiPort },
    /port \d+ on 127\.0\.0\.1 is in use: stop the program/,
  ],
  ['the same port of the broker', { mqttPort: first.config.mqttPort }, /port \d+ .*in use/],
] as const;

for (const [what, same, sentence] of cases) {
  t.test(`a second master with ${what} does not start, and says why in one sentence`, async t => {
    const second = startMasterProcess(t, { ...other, ...same });
    t.equal(await second.ended, 1);
    const plain = second.output.split('\n').filter(line => line.startsWith('mesolite: '));
    t.equal(plain.length, 1, second.output);
    t.match(plain[0], sentence);
    t.notMatch(second.output, /^\s+at /m, 'no stack');
    t.notMatch(second.output, /operator token/, 'nobody is told of a token that opens nothing');
    t.strictSame(await first.api.nodes(), [], 'the first one answers as before');
  });
}

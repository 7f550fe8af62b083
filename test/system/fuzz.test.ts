import t from 'tap';
import { seededRandom } from '../../src/base/random.ts';
import { decodeUp, encodeMessage } from '../../src/model/message.ts';
import { upKinds } from '../../src/model/topics.ts';
import { mutate } from './fuzz/mutate.ts';
import { makeTargets, misbehaviour } from './fuzz/targets.ts';
import { upSamples } from './fuzz/up-samples.ts';

/** `npm run check:fuzz` takes many more. */
const inputs = 2_000;

for (const target of makeTargets()) {
  t.test(`${target.name}: whatever comes is read or refused in the expected way`, async t => {
    const random = seededRandom(3);
    for (let i = 0; i < inputs; i++) {
      const input = mutate(target.samples, random);
      const wrong = misbehaviour(target, input);
      if (wrong !== undefined) t.fail(`${wrong}: ${input.toString('hex')}`);
    }
    t.pass(`${inputs} inputs`);
  });
}

t.test('the samples of what a node sends are whole messages', async t => {
  for (const kind of upKinds) t.doesNotThrow(() => decodeUp(kind, encodeMessage(upSamples[kind])), kind);
});

t.test('a reader that breaks is found', async t => {
  const broken = { name: 'broken', samples: [Buffer.of(1)], read: () => JSON.parse('{') };
  t.match(misbehaviour(broken, Buffer.of()), /SyntaxError/);
});

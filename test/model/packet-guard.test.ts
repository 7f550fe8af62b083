import fc from 'fast-check';
import mqttPacket from 'mqtt-packet';
import t from 'tap';
import { PacketGuard } from '../../src/model/packet-guard.ts';

const publish = (bytes: number) =>
  mqttPacket.generate({ cmd: 'publish', topic: 't', payload: Buffer.alloc(bytes), qos: 0, dup: false, retain: false });

t.test('packets up to the limit pass, whatever the pieces they come in', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 1000 }), { maxLength: 20 }),
      fc.array(fc.integer({ min: 40, max: 400 }), { minLength: 1, maxLength: 50 }),
      (sizes, cuts) => {
        const stream = Buffer.concat(sizes.map(publish));
        const guard = new PacketGuard(1003);
        let at = 0;
        for (let i = 0; at < stream.length; i++) {
          const end = at + (cuts[i % cuts.length] ?? 1);
          if (!guard.accept(stream.subarray(at, end))) return false;
          at = end;
        }
        return true;
      },
    ),
    { seed: 2, numRuns: 500 },
  );
});

t.test('a packet above the limit is refused by its header alone, wherever the header is cut', async t => {
  const header = publish(1001).subarray(0, 3);
  for (const cut of [1, 2, 3]) {
    const guard = new PacketGuard(1003);
    t.ok(guard.accept(publish(1000)));
    const verdicts = [guard.accept(header.subarray(0, cut)), guard.accept(header.subarray(cut))];
    t.ok(verdicts.includes(false), `cut after ${cut}`);
  }
});

t.test('the limit may rise between packets', async t => {
  const guard = new PacketGuard(10);
  t.ok(guard.accept(publish(5)));
  guard.limitBytes = 2000;
  t.ok(guard.accept(publish(1500)));
});

t.test('a length of more than four bytes is refused', async t => {
  const guard = new PacketGuard(2 ** 31);
  t.notOk(guard.accept(Uint8Array.of(0x30, 0x80, 0x80, 0x80, 0x80)));
});

t.test('a packet in crumbs is refused before they add up', async t => {
  const guard = new PacketGuard(100_000);
  const packet = publish(90_000);
  let pieces = 0;
  while (pieces < packet.length && guard.accept(packet.subarray(pieces, pieces + 1))) pieces++;
  t.ok(pieces < 500, `${pieces} pieces of one byte were taken`);
});

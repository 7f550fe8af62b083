import type { Random } from '../../../src/base/random.ts';

const maxRandomBytes = 512;
const interesting = [0x00, 0x01, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff, 0x22, 0x5b, 0x5d, 0x7b, 0x7d, 0x2c, 0x30, 0x2d];

/** One input: of three, two are samples that were damaged in up to four places, and one is noise. */
export function mutate(samples: readonly Buffer[], random: Random): Buffer {
  const nat = (limit: number) => Math.floor(random() * limit);
  const sample = samples[nat(samples.length)] ?? Buffer.of();
  if (nat(3) === 0) return Buffer.from(Array.from({ length: nat(maxRandomBytes) }, () => nat(256)));
  let input: Buffer = Buffer.from(sample);
  for (let left = 1 + nat(4); left > 0; left--) input = damage(input, samples, nat);
  return input;
}

/** Damages one place: a byte is changed, or a piece goes, comes twice, is filled, or is that of another sample. */
function damage(input: Buffer, samples: readonly Buffer[], nat: (limit: number) => number): Buffer {
  const at = nat(input.length + 1);
  const end = Math.min(input.length, at + 1 + nat(16));
  switch (nat(6)) {
    case 0:
      return splice(input, at, at + 1, Buffer.of(nat(256)));
    case 1:
      return splice(input, at, at + 1, Buffer.of(interesting[nat(interesting.length)] ?? 0));
    case 2:
      return splice(input, at, end, Buffer.of());
    case 3:
      return splice(input, at, at, input.subarray(at, end));
    case 4:
      return splice(input, at, at, Buffer.alloc(1 + nat(64), interesting[nat(interesting.length)] ?? 0));
    default:
      return splice(input, at, input.length, (samples[nat(samples.length)] ?? Buffer.of()).subarray(at));
  }
}

function splice(input: Buffer, from: number, to: number, piece: Buffer): Buffer {
  return Buffer.concat([input.subarray(0, from), piece, input.subarray(to)]);
}

import fc from 'fast-check';
import t from 'tap';
import {
  type FrameEvents,
  FrameReader,
  frameHeader,
  frameKind,
  maxFrameBytes,
  maxStreamId,
  maxWindowBytes,
} from '../../../../src/proxy/wire/mux/frame.ts';

interface Frame {
  readonly kind: number;
  readonly stream: number;
  /** Of `data` it is a payload. */
  readonly value: number | string;
}

/** Collects frames as a reader finds them, until it has been told enough. */
class Collector implements FrameEvents {
  readonly frames: { kind: number; stream: number; value: number | string }[] = [];
  readonly reader = new FrameReader(this);
  left = Number.POSITIVE_INFINITY;

  onFrame(kind: number, stream: number, value: number): boolean {
    this.frames.push({ kind, stream, value: kind === frameKind.data ? '' : value });
    return --this.left >= 0;
  }
  onPayload(bytes: Buffer, from: number, end: number): void {
    const last = this.frames.at(-1);
    if (last !== undefined) last.value += bytes.toString('latin1', from, end);
  }
}

const streamId = fc.integer({ min: 1, max: maxStreamId });
const frame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({
    kind: fc.constant(frameKind.data),
    stream: streamId,
    value: fc.uint8Array({ minLength: 1, maxLength: 300 }).map(bytes => Buffer.from(bytes).toString('latin1')),
  }),
  fc.record({
    kind: fc.constant(frameKind.window),
    stream: streamId,
    value: fc.integer({ min: 1, max: maxWindowBytes }),
  }),
  fc.record({
    kind: fc.constantFrom(frameKind.open, frameKind.end, frameKind.blocked),
    stream: streamId,
    value: fc.constant(0),
  }),
  fc.record({ kind: fc.constant(frameKind.reset), stream: streamId, value: fc.integer({ min: 0, max: 1 }) }),
  fc.record({
    kind: fc.constantFrom(frameKind.ping, frameKind.pong, frameKind.goaway),
    stream: fc.constant(0),
    value: fc.constant(0),
  }),
);

function encode({ kind, stream, value }: Frame): string {
  return typeof value === 'string' ? frameHeader(kind, stream, value.length) + value : frameHeader(kind, stream, value);
}

t.test('frames come out as they went in, in whatever pieces they arrive', async () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 20 }), fc.array(fc.nat(), { maxLength: 30 }), (frames, cuts) => {
      const bytes = Buffer.from(frames.map(encode).join(''), 'latin1');
      const ends = [...cuts.map(cut => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
      const collector = new Collector();
      let from = 0;
      for (const end of ends) {
        if (!collector.reader.read(bytes, from, end)) return false;
        from = end;
      }
      return JSON.stringify(collector.frames) === JSON.stringify(frames);
    }),
  );
});

t.test('whatever breaks a rule is refused before anybody hears of it', async t => {
  const { open, data, end, window, blocked, reset, ping, pong, goaway } = frameKind;
  const odd: readonly (readonly [number, number, number])[] = [
    [0, 1, 0],
    [10, 1, 0],
    [255, maxStreamId, 0xffff_ffff],
    [open, 0, 0],
    [open, 1, 1],
    [data, 0, 1],
    [data, 1, 0],
    [data, 1, maxFrameBytes + 1],
    [data, 1, 0xffff_ffff],
    [end, 0, 0],
    [end, 1, 1],
    [blocked, 1, 1],
    [window, 0, 1],
    [window, 1, 0],
    [window, 1, maxWindowBytes + 1],
    [reset, 0, 0],
    [reset, 1, 2],
    [ping, 1, 0],
    [pong, 0, 1],
    [goaway, 1, 0],
  ];
  for (const [kind, stream, value] of odd) {
    const collector = new Collector();
    const bytes = Buffer.from(frameHeader(kind, stream, value), 'latin1');
    t.equal(collector.reader.read(bytes, 0, bytes.length), false, `${kind} ${stream} ${value}`);
    t.same(collector.frames, []);
  }
});

t.test(
  'random bytes are read without harm, and what is heard of them are frames that could have been sent',
  async () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.uint8Array(),
            frame.map(one => Buffer.from(encode(one), 'latin1')),
          ),
        ),
        pieces => {
          const collector = new Collector();
          const bytes = Buffer.concat(pieces);
          collector.reader.read(bytes, 0, bytes.length);
          const heard = Buffer.from(collector.frames.slice(0, -1).map(encode).join(''), 'latin1');
          return heard.equals(bytes.subarray(0, heard.length));
        },
      ),
      { numRuns: 1000 },
    );
  },
);

t.test('nothing is read behind a frame that its receiver refused', async t => {
  const collector = new Collector();
  collector.left = 1;
  const bytes = Buffer.from(frameHeader(frameKind.ping, 0, 0).repeat(3), 'latin1');
  t.equal(collector.reader.read(bytes, 0, bytes.length), false);
  t.equal(collector.frames.length, 2);
});

import { Buffer } from 'node:buffer';
import t from 'tap';
import { secondMs } from '../../../src/base/clock.ts';
import { Deadlines } from '../../../src/proxy/deadlines.ts';
import { readBufferBytes, type Sink, WriteBuffers } from '../../../src/proxy/wire/write-buffers.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';

const maxSpare = 8;

/** Keeps what it is given and sends it when told. */
class SlowSink implements Sink {
  readonly waiting: { readonly data: string | Buffer; readonly done: (() => void) | undefined }[] = [];

  write(data: string | Buffer, done?: () => void): boolean {
    this.waiting.push({ data, done });
    return true;
  }

  send(): string | Buffer {
    const sent = this.waiting.shift();
    if (sent === undefined) throw new Error('nothing waits');
    sent.done?.();
    return sent.data;
  }
}

function setUp() {
  const clock = new FakeClock();
  const sink = new SlowSink();
  return { clock, sink, buffers: new WriteBuffers(new Deadlines(clock), maxSpare) };
}

const large = Buffer.alloc(readBufferBytes, 'a');

function memoryOf(data: string | Buffer): unknown {
  return typeof data === 'string' ? undefined : data.buffer;
}

t.test('what was copied stays as it was while the bytes it came from are overwritten', t => {
  const { sink, buffers } = setUp();
  for (const length of [100, 20_000, readBufferBytes]) {
    const source = Buffer.alloc(length, 'x');
    buffers.write(sink, 'head ', source, 1, length);
    source.fill('y');
    t.equal(sink.send().toString('latin1'), `head ${'x'.repeat(length - 1)}`);
  }
  t.end();
});

t.test('a large copy takes the memory of one that has been sent, never of one that has not', t => {
  const { sink, buffers } = setUp();
  buffers.write(sink, '', large, 0, large.length);
  buffers.write(sink, '', large, 0, large.length);
  const [first, second] = sink.waiting.map(({ data }) => memoryOf(data));
  t.not(first, second);
  sink.send();
  buffers.write(sink, '', large, 0, large.length);
  t.equal(memoryOf(sink.waiting[1]?.data ?? ''), first);
  t.end();
});

t.test('so many are kept to spare, and none after ten seconds without use', async t => {
  const { clock, sink, buffers } = setUp();
  const fill = (count: number) => {
    for (let i = 0; i < count; i++) buffers.write(sink, '', large, 0, large.length);
    return new Set(sink.waiting.map(({ data }) => memoryOf(data)));
  };
  const before = fill(maxSpare + 8);
  while (sink.waiting.length > 0) sink.send();
  const known = [...fill(maxSpare + 8)].filter(memory => before.has(memory));
  t.equal(known.length, maxSpare);
  const kept = new Set(sink.waiting.map(({ data }) => memoryOf(data)));
  while (sink.waiting.length > 0) sink.send();
  for (let second = 0; second < 12; second++) await clock.advance(secondMs);
  t.notOk([...fill(maxSpare)].some(memory => kept.has(memory)));
});

t.test('nothing is kept, and no timer, after the proxy has stopped', t => {
  const { clock, sink, buffers } = setUp();
  buffers.write(sink, '', large, 0, large.length);
  buffers.write(sink, '', large, 0, large.length);
  sink.send();
  t.equal(clock.sleepers, 1);
  buffers.close();
  sink.send();
  t.equal(clock.sleepers, 0);
  t.end();
});

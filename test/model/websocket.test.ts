import fc from 'fast-check';
import t from 'tap';
import { joinPieces } from '../../src/model/websocket.ts';

t.test('pieces go together in order, and only a piece that is large by itself makes a large message', async t => {
  const piece = fc.integer({ min: 0, max: 100_000 }).map(length => Buffer.alloc(length, length % 251));
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), pieces => {
      const messages = joinPieces(pieces);
      t.ok(Buffer.concat(messages).equals(Buffer.concat(pieces)));
      const largest = Math.max(64 * 1024, ...pieces.map(({ length }) => length));
      t.ok(messages.every(message => message.length <= largest));
      t.ok(messages.length <= 1 + (2 * pieces.reduce((sum, { length }) => sum + length, 0)) / (64 * 1024));
    }),
    { seed: 1, numRuns: 50 },
  );
});

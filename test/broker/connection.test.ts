import { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import t from 'tap';
import { Connection } from '../../src/broker/connection.ts';

t.test('all that waits for a client that is cut off ends with one error, not with one each', async t => {
  let fail: (error?: Error | null) => void = () => {};
  const stream = new Duplex({
    read() {},
    write(_chunk, _encoding, done) {
      fail = done;
    },
    destroy(error, done) {
      fail(error);
      done(error);
    },
  });
  stream.on('error', () => {});
  const connection = new Connection({ stream, tls: new TLSSocket(new Socket()).on('error', () => {}) }, undefined, 100);
  const endings = Array.from({ length: 100 }, (_, i) => {
    return new Promise<unknown>(resolve => stream.write(`piece ${i}`, resolve));
  });
  t.equal(connection.cut('slow'), true);
  t.equal(connection.cut('slow'), false);
  const errors = new Set(await Promise.all(endings));
  t.equal(errors.size, 1);
  t.match([...errors][0], { message: 'the connection was cut off' });
});

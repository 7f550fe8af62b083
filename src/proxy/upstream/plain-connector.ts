import type { Buffer } from 'node:buffer';
import { connect, type OnReadOpts } from 'node:net';
import { highWaterMark } from '../wire/byte-stream.ts';
import type { Connector } from './connection.ts';

/** Plain TCP to the application of a workload. `readBuffer` is shared: what is in it is used up before the next read. */
export function plainConnector(host: string, port: number, readBuffer: Buffer): Connector {
  return {
    connect(events) {
      const onread = readInto(readBuffer, length => events.onBytes(length, readBuffer));
      const options = { host, port, noDelay: true, allowHalfOpen: true, highWaterMark, onread };
      const socket = connect(options);
      socket.on('connect', () => events.onConnected(socket));
      // errors are followed by 'close'
      socket.on('error', () => {});
      socket.on('close', hadError => events.onClosed(hadError));
      return socket;
    },
    recheck() {},
    close() {},
  };
}

/** Has a socket read into `buffer`, which others may share, instead of one of its own for each read. */
export function readInto(buffer: Buffer, onRead: (length: number) => boolean): OnReadOpts {
  return { buffer, callback: onRead };
}

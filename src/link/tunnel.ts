import { Buffer } from 'node:buffer';
import { connect, isIP, isIPv6, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { onAbort } from '../base/signal.ts';
import type { HttpProxy } from './proxy-rules.ts';

/** The head of a proxy's answer. */
const maxHeadBytes = 8 * 1024;

/** Opens a tunnel through an HTTP proxy (CONNECT, RFC 9110 9.3.6); throws UNAVAILABLE. */
export function openTunnel(
  proxy: HttpProxy,
  target: { readonly host: string; readonly port: number },
  signal: AbortSignal,
): Promise<Socket> {
  const { host, port, isTls } = proxy;
  const place = `${target.host}:${target.port} through the proxy ${host}:${port}`;
  const socket = isTls ? connectTls({ host, port, servername: isIP(host) === 0 ? host : '' }) : connect({ host, port });
  socket.once(isTls ? 'secureConnect' : 'connect', () => socket.write(requestOf(proxy, target)));
  return new Promise((resolve, reject) => {
    let head = Buffer.alloc(0);
    const release = () => {
      forget();
      socket.off('data', read);
      socket.off('error', fail);
      socket.off('close', closed);
    };
    const fail = (cause: unknown) => {
      release();
      // an error that comes while it closes must not be fatal
      socket.on('error', () => {});
      socket.destroy();
      reject(new MesoliteError('UNAVAILABLE', `cannot connect to ${place}: ${messageOf(cause)}`, { cause }));
    };
    const closed = () => fail('the proxy closed the connection');
    const read = (chunk: Buffer) => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf('\r\n\r\n');
      if (end < 0 && head.length <= maxHeadBytes) return;
      const reason = whyNotOpen(head, end);
      if (reason !== undefined) return fail(reason);
      release();
      socket.pause();
      resolve(socket);
    };
    socket.on('data', read);
    socket.on('error', fail);
    socket.on('close', closed);
    const forget = onAbort(signal, () => fail(signal.reason));
  });
}

function requestOf(
  { authorization }: HttpProxy,
  { host, port }: { readonly host: string; readonly port: number },
): string {
  const authority = `${isIPv6(host) ? `[${host}]` : host}:${port}`;
  const credentials = authorization === undefined ? '' : `proxy-authorization: ${authorization}\r\n`;
  return `CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n${credentials}\r\n`;
}

function whyNotOpen(head: Buffer, end: number): string | undefined {
  if (end < 0 || end > maxHeadBytes) return `its answer has more than ${maxHeadBytes} bytes of head`;
  const status = /^HTTP\/1\.[01] (\d{3})[ \r]/.exec(head.toString('latin1', 0, 64))?.[1];
  if (status === undefined) return 'it does not speak HTTP';
  if (status === '407') return 'it wants other credentials (407); HTTPS_PROXY takes them as http://user:password@host';
  if (!status.startsWith('2')) return `it answers ${status}`;
  // the server of TLS never speaks first
  return head.length > end + 4 ? 'it says more than it was asked' : undefined;
}

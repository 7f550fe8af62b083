import { createServer } from 'node:http';
import { MesoliteError } from '../base/errors.ts';
import { aborted } from '../base/signal.ts';
import { metricsContentType } from './metrics.ts';

export interface MetricsAddress {
  readonly host: string;
  readonly port: number;
}

/** Serves `GET /metrics` over plain HTTP until `signal` aborts; the promise it gives settles then. Throws START_FAILED. */
export async function startMetrics(
  text: () => string,
  { host, port }: MetricsAddress,
  signal: AbortSignal,
): Promise<{ readonly port: number; readonly ended: Promise<void> }> {
  const server = createServer({ requestTimeout: 5_000, maxHeaderSize: 8 * 1024 }, (request, response) => {
    const isAsked = request.method === 'GET' && request.url === '/metrics';
    response.writeHead(isAsked ? 200 : 404, { 'content-type': metricsContentType, connection: 'close' });
    response.end(isAsked ? text() : 'expected GET /metrics\n');
  });
  server.maxConnections = 16;
  await new Promise<void>((resolve, reject) => {
    server.once('error', cause => {
      const sentence = `the metrics cannot be served on ${host}, port ${port}: ${cause.message}`;
      reject(new MesoliteError('START_FAILED', sentence, { cause }));
    });
    server.listen({ host, port }, resolve);
  });
  const address = server.address();
  const ended = aborted(signal).then(() => {
    server.closeAllConnections();
    return new Promise<void>(resolve => server.close(() => resolve()));
  });
  return { port: typeof address === 'object' && address !== null ? address.port : port, ended };
}

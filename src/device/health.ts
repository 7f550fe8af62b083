import { request } from 'node:http';
import { connect } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { onAbort } from '../base/signal.ts';

export interface HealthCheck {
  readonly type: 'http' | 'tcp';
  readonly host: string;
  readonly port: number;
  /** For `http`; a status of 200 to 399 is healthy, as for Mesos and Kubernetes. */
  readonly path: string;
  readonly timeoutMs: number;
}

export interface HealthResult {
  readonly healthy: boolean;
  /** What was seen, in a few words. */
  readonly message: string;
}

/** Asks once; every outcome is a result, an abort too. The body of an answer is never read. */
export function checkHealth(clock: Clock, check: HealthCheck, signal: AbortSignal): Promise<HealthResult> {
  const what = check.type === 'http' ? `GET ${check.path} on port ${check.port}` : `port ${check.port}`;
  if (signal.aborted) return Promise.resolve({ healthy: false, message: `${what}: not asked` });
  return new Promise(resolve => {
    const settle = (healthy: boolean, seen: string): void => {
      cancel();
      forget();
      // the first one to settle counts; what a destroyed connection still says is ignored
      resolve({ healthy, message: `${what}: ${seen}` });
      connection.destroy();
    };
    const cancel = clock.after(check.timeoutMs, () => settle(false, `no answer in ${check.timeoutMs} ms`));
    const forget = onAbort(signal, () => settle(false, 'not asked to the end'));
    const connection = check.type === 'http' ? askHttp(check, settle) : askTcp(check, settle);
    connection.on('error', (error: Error) => settle(false, error.message));
  });
}

type Settle = (healthy: boolean, seen: string) => void;

/** What a socket and a request have in common. */
interface Connection {
  destroy(): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
}

function askTcp({ host, port }: HealthCheck, settle: Settle): Connection {
  return connect({ host, port }, () => settle(true, 'open'));
}

function askHttp({ host, port, path }: HealthCheck, settle: Settle): Connection {
  // a connection of its own each time, as a new caller has it; node:http bounds the head to 16 KiB
  const asked = request({
    host,
    port,
    path,
    method: 'GET',
    agent: false,
    headers: { 'user-agent': 'mesolite-health' },
  });
  asked.on('response', ({ statusCode = 0 }) => settle(statusCode >= 200 && statusCode < 400, `status ${statusCode}`));
  asked.end();
  return asked;
}

import { connect, type Socket } from 'node:net';
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
    const connection = connect({ host: check.host, port: check.port });
    connection.on('error', error => settle(false, error.message));
    if (check.type === 'tcp') connection.once('connect', () => settle(true, 'open'));
    else askHttp(connection, check, settle);
  });
}

type Settle = (healthy: boolean, seen: string) => void;

const maxHeadBytes = 16 * 1024;
/** One that is not the last (RFC 9110, 15.2): another one follows it. */
const interim = /^HTTP\/1\.[01] 1(?!01)\d\d[\s\S]*?\r?\n\r?\n/;
const whole = /^HTTP\/1\.[01] (\d{3})[ \r\n][\s\S]*?\r?\n\r?\n/;

/** On a connection of its own each time, as a new caller has it. By hand: `node:http` takes twice the CPU, and a node at rest does little else. */
function askHttp(connection: Socket, { host, port, path }: HealthCheck, settle: Settle): void {
  let head = '';
  connection.setEncoding('latin1');
  if (!/^\/[\x21-\x7e]*$/.test(path)) {
    settle(false, 'this is no path of HTTP');
    return;
  }
  connection.write(
    `GET ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\nUser-Agent: mesolite-health\r\nConnection: close\r\n\r\n`,
  );
  connection.on('data', (text: string) => {
    head += text;
    if (head.length > maxHeadBytes + text.length) settle(false, `the head overflows ${maxHeadBytes} bytes`);
    // however small the pieces are, each is looked at once
    if (!/\n\r?\n/.test(head.slice(-text.length - 3))) return;
    while (interim.test(head)) head = head.replace(interim, '');
    const status = Number(whole.exec(head)?.[1]);
    if (status > 0) settle(status >= 200 && status < 400, `status ${status}`);
  });
  connection.on('end', () => settle(false, head === '' ? 'closed without an answer' : 'no answer of HTTP'));
}

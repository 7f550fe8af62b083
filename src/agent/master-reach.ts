import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { createConnection, isIP, type Socket } from 'node:net';
import { connect } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { type ProxySettings, readProxyRules } from '../link/proxy-rules.ts';
import type { Finding } from '../model/finding.ts';

/** Where a master should be. */
export interface MasterPlace {
  readonly host: string;
  readonly port: number;
  readonly wssPort?: number | undefined;
  /** Who may have issued its certificate; absent: it is not asked for one. */
  readonly roots?: readonly string[];
}

const timeoutMs = 5_000;

/** Is there a way to each of these masters, step by step: name, connection, certificate? */
export async function examineMasters(
  parts: { readonly clock: Clock; readonly proxy: ProxySettings },
  places: readonly MasterPlace[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings = await Promise.all(places.map(place => examineMaster(parts, place, signal)));
  return findings.flat();
}

async function examineMaster(
  { clock, proxy }: { readonly clock: Clock; readonly proxy: ProxySettings },
  place: MasterPlace,
  signal: AbortSignal,
): Promise<Finding[]> {
  const through = readProxyRules(proxy)(place.host, place.port);
  const { host, port } = through ?? place;
  const what = through === undefined ? `${host}:${port}` : `the proxy ${host}:${port} (HTTPS_PROXY), for ${place.host}`;
  if (isIP(host) === 0) {
    try {
      await within(clock, signal, () => lookup(host));
    } catch (error) {
      const fix = `see that \`getent hosts ${host}\` answers; or have the master advertise an address (\`mesolite master --advertise\`)`;
      return [{ check: 'dns', state: 'failure', what: `${host} has no address: ${messageOf(error)}`, fix }];
    }
  }
  const begun = clock.monotonic();
  let socket: Socket | undefined;
  try {
    socket = await within(clock, signal, late => opened(host, port, late));
    const tookMs = Math.round(clock.monotonic() - begun);
    const reached: Finding = { check: 'master', state: 'ok', what: `${what} is reached, in ${tookMs} ms` };
    if (through !== undefined || place.roots === undefined) return [reached];
    return [reached, await examineTls(clock, socket, place, place.roots, signal)];
  } catch (error) {
    const unreached = `${what} is not reached: ${messageOf(error)}`;
    const fix = `see that the master runs and that no firewall on the way closes ${port}`;
    const { wssPort } = place;
    if (through !== undefined || wssPort === undefined || !(await isReached(clock, signal, host, wssPort)))
      return [{ check: 'master', state: 'failure', what: unreached, fix }];
    const instead = `${unreached}; the agent goes by WebSocket on ${wssPort}, which is`;
    return [{ check: 'master', state: 'warning', what: instead, fix }];
  } finally {
    socket?.destroy();
  }
}

async function isReached(clock: Clock, signal: AbortSignal, host: string, port: number): Promise<boolean> {
  try {
    (await within(clock, signal, late => opened(host, port, late))).destroy();
    return true;
  } catch {
    return false;
  }
}

/** The master is known by its root, not by its name. */
async function examineTls(
  clock: Clock,
  socket: Socket,
  { host, port }: MasterPlace,
  roots: readonly string[],
  signal: AbortSignal,
): Promise<Finding> {
  const check = 'master';
  const secure = connect({ socket, ca: [...roots], checkServerIdentity: () => undefined });
  // it says so once more when it is closed for want of a certificate of ours
  secure.on('error', () => {});
  try {
    await within(clock, signal, late => once(secure, 'secureConnect', { signal: late }));
    return { check, state: 'ok', what: `${host}:${port} shows a certificate of this fleet` };
  } catch (error) {
    const fix =
      'see that the clock is right, that this is the address of the master, and that nothing on the way opens TLS';
    return { check, state: 'failure', what: `${host}:${port} is not known for the master: ${messageOf(error)}`, fix };
  } finally {
    secure.destroy();
  }
}

async function opened(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  const socket = createConnection({ host, port });
  try {
    await once(socket, 'connect', { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Gives `work` a signal that aborts when it takes too long. */
async function within<T>(clock: Clock, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController();
  const aborted = new Promise<never>((_, reject) => {
    late.signal.addEventListener('abort', () => reject(new Error(`no answer within ${timeoutMs / 1000} s`)));
  });
  const cancel = clock.after(timeoutMs, () => late.abort());
  try {
    return await Promise.race([work(AbortSignal.any([signal, late.signal])), aborted]);
  } finally {
    cancel();
  }
}

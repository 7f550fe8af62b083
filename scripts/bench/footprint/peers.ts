/**
 * What Debian has for parts of the same job: proxies that do mutual TLS and a policy, and a client that keeps a connection to a broker.
 * Beside them Node itself, which does what an agent at rest cannot do without.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { agentEnvironment } from '../../quickstart/programs.ts';
import { type BenchSettings, startAll, stopAll } from '../proxy/measure.ts';
import { freePort, isInstalled, RunningProgram } from '../proxy/processes.ts';

export const proxyNames = ['nginx', 'haproxy'] as const;
export const clientName = 'mosquitto_sub';
export const nodeName = 'node alone';

export interface Peers {
  /** By name: the process, and the port that its connections go to. */
  readonly processes: ReadonlyMap<string, { readonly pid: number; readonly port: number }>;
  stop(): Promise<void>;
}

/** Starts those that are installed, and tells of the others. */
export async function startPeers(
  settings: BenchSettings,
  keepaliveSeconds: number,
  nodeFlags: readonly string[],
): Promise<Peers> {
  const proxies = await startAll(settings, proxyNames, 'inbound');
  const { client, port, programs } = await startClient(settings, keepaliveSeconds);
  const processes = new Map(
    proxies.map(({ name, sides }) => [name, { pid: sides[0]?.pid ?? 0, port: settings.originPort }]),
  );
  const least = await startLeast(settings, nodeFlags);
  processes.set(nodeName, { pid: least.pid, port: least.port });
  if (client !== undefined) processes.set(clientName, { pid: client.pid, port });
  return {
    processes,
    async stop() {
      await Promise.all([stopAll(proxies), ...programs.map(program => program.stop()), least.stop()]);
    },
  };
}

async function startLeast({ dir, originPort }: BenchSettings, nodeFlags: readonly string[]) {
  const at = (name: string) => join(dir, name);
  const port = await freePort();
  const [key, cert] = ['server.key', 'server.pem'].map(name => readFileSync(at(name)));
  const server = createServer({ key, cert }, socket => socket.on('error', () => {}).resume());
  await new Promise<void>(resolve => server.listen(port, 'localhost', resolve));
  const args = [join(import.meta.dirname, 'least.js'), dir, `${port}`, `${originPort}`];
  const command = [process.execPath, ...nodeFlags, ...args];
  const program = new RunningProgram('proxy', { command, env: agentEnvironment }, at('least.out'));
  return {
    ...{ pid: program.pid, port },
    async stop() {
      await program.stop();
      server.close();
    },
  };
}

async function startClient({ dir, say }: BenchSettings, keepaliveSeconds: number) {
  const missing = ['mosquitto', clientName].filter(name => !isInstalled(name));
  if (missing.length > 0) {
    say(`${clientName} is left out: ${missing.join(' and ')} not installed`);
    return { client: undefined, port: 0, programs: [] };
  }
  const port = await freePort();
  const at = (name: string) => join(dir, name);
  const config = at('mosquitto.conf');
  const files = `cafile ${at('ca.pem')}\ncertfile ${at('server.pem')}\nkeyfile ${at('server.key')}`;
  writeFileSync(
    config,
    `listener ${port} 127.0.0.1\n${files}\nrequire_certificate true\nallow_anonymous true\nuser root\n`,
  );
  const broker = new RunningProgram('load', { command: ['mosquitto', '-c', config] }, at('mosquitto.out'));
  await broker.listening(port);
  const tls = ['--cafile', at('ca.pem'), '--cert', at('client.pem'), '--key', at('client.key')];
  const where = ['-h', 'localhost', '-p', `${port}`, '-k', `${keepaliveSeconds}`, '-t', 'mesolite/#'];
  const client = new RunningProgram('proxy', { command: [clientName, ...tls, ...where] }, at('client.out'));
  return { client, port, programs: [client, broker] };
}

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Owner } from '../../fixtures/proxy-node.ts';
import { Origin } from './origin.ts';
import type { Door } from './trial.ts';

/** Another proxy, to see what it does with the same bytes. */
interface Peer {
  readonly name: string;
  /** As its package puts it. */
  readonly program: string;
  readonly configuration: (port: number, originPort: number, directory: string) => string;
  readonly args: (file: string, directory: string) => readonly string[];
}

const nginx: Peer = {
  name: 'nginx',
  program: 'nginx',
  configuration: (port, originPort, directory) => `
    worker_processes 1;
    daemon off;
    error_log ${directory}/error.log;
    pid ${directory}/pid;
    events { worker_connections 256; }
    http {
      access_log off;
      client_body_temp_path ${directory}/body;
      proxy_temp_path ${directory}/proxy;
      fastcgi_temp_path ${directory}/fastcgi;
      uwsgi_temp_path ${directory}/uwsgi;
      scgi_temp_path ${directory}/scgi;
      upstream app { server 127.0.0.1:${originPort} max_fails=0; keepalive 16; }
      server {
        listen 127.0.0.1:${port};
        location / {
          proxy_pass http://app;
          proxy_http_version 1.1;
          proxy_set_header Connection "";
          proxy_request_buffering off;
          proxy_buffering off;
        }
      }
    }`,
  args: (file, directory) => ['-p', directory, '-e', `${directory}/error.log`, '-c', file],
};

const haproxy: Peer = {
  name: 'haproxy',
  program: 'haproxy',
  configuration: (port, originPort) => `
global
  maxconn 256
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
  http-reuse always
frontend in
  bind 127.0.0.1:${port}
  default_backend app
backend app
  server app 127.0.0.1:${originPort}
`,
  args: file => ['-q', '-db', '-f', file],
};

export const peers: readonly Peer[] = [nginx, haproxy];

const path = `${process.env.PATH ?? ''}:/usr/sbin:/usr/local/sbin`;
/** A peer that says nothing for so long waits for more: silence is no event. */
const quietMs = 150;
const startTries = 100;

/** Why a peer cannot be asked here; undefined when it can. */
export function whyMissing({ name, program }: Peer): string | undefined {
  const found = spawnSync(program, ['-v'], { env: { ...process.env, PATH: path } });
  return found.status === 0 ? undefined : `${name} is not installed`;
}

/** Starts it in front of an origin of its own; it ends with `t`. */
export async function peerDoor(t: Owner, peer: Peer): Promise<Door> {
  const origin = new Origin();
  const originPort = await origin.listen();
  const directory = mkdtempSync(join(tmpdir(), `mesolite-${peer.name}-`));
  const port = await freePort();
  const file = join(directory, 'configuration');
  mkdirSync(join(directory, 'logs'));
  writeFileSync(file, peer.configuration(port, originPort, directory));
  const child = spawn(peer.program, peer.args(file, directory), {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, PATH: path },
  });
  const exited = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGTERM');
    await exited;
    origin.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const door = { name: peer.name, origin, quietMs, connect: () => open(port) };
  for (let tries = 0; tries < startTries; tries++) {
    const socket = await open(port).catch(() => undefined);
    socket?.destroy();
    if (socket !== undefined) return door;
    // it tells nobody that it listens
    await setTimeout(50);
  }
  throw new Error(`${peer.name} did not start`);
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  await once(socket, 'connect');
  // what it has to say by a reset is heard by 'close'
  socket.on('error', () => {});
  return socket;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

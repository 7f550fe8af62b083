/** How one writes a proxy in Node today: `node:https` with http-proxy, or with undici. Started as proxy-alone is; the argument says which. */
import { readFileSync } from 'node:fs';
import { Agent, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import httpProxy from 'http-proxy';
import { Pool } from 'undici';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

const wanted = (name: string): string => process.env[name] ?? '';
const target = `http://127.0.0.1:${wanted('UPSTREAM_PORT')}`;

function withHttpProxy(): Handler {
  const proxy = httpProxy.createProxyServer({ target, agent: new Agent({ keepAlive: true, maxSockets: 64 }) });
  proxy.on('error', () => {});
  return (request, response) => proxy.web(request, response);
}

function withUndici(): Handler {
  const pool = new Pool(target, { connections: 64 });
  return (request, response) => {
    const { method = 'GET', url = '/', headers } = request;
    const { connection: _, ...others } = headers;
    const body = headers['content-length'] === undefined ? null : request;
    pool
      .stream({ method, path: url, headers: others, body, opaque: response }, ({ statusCode, headers }) => {
        response.writeHead(statusCode, headers);
        return response;
      })
      .catch(() => response.destroy());
  };
}

const handler = process.argv[2] === 'undici' ? withUndici() : withHttpProxy();
const [key, cert, ca] = ['TLS_KEY', 'TLS_CERT', 'TLS_CA'].map(name => readFileSync(wanted(name), 'utf8'));
const settings = {
  requestCert: true,
  rejectUnauthorized: true,
  minVersion: 'TLSv1.3',
  sessionIdContext: 'peer',
} as const;
const server = createServer({ key, cert, ca, ...settings }, handler);
server.keepAliveTimeout = 3_600_000;
server.listen(Number(wanted('LISTEN_PORT')), '127.0.0.1', 4096);

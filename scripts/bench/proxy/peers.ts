/** The proxies that are compared: how each is configured and started, with a policy, a request limit, an access log and counters where it has them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type Role = 'inbound' | 'outbound';

/** One side of a proxy: where it listens, and where it sends what it gets. All files are in `dir`. */
export interface Place {
  readonly dir: string;
  readonly label: string;
  readonly role: Role;
  readonly port: number;
  readonly upstreamPort: number;
}

export interface Launch {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Peer {
  readonly program: string;
  launch(place: Place): Launch;
}

/** What the README tells to start an agent with. */
const nodeFlags = ['--max-semi-space-size=1', '--v8-pool-size=0'];
const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));

export const peers: Readonly<Record<string, Peer>> = {
  mesolite: { program: 'node', launch: mesolite },
  'mesolite-http1': {
    program: 'node',
    launch: place => mesolite(place, { MESH_LEG: 'http/1.1' }),
  },
  nginx: { program: 'nginx', launch: place => configured(place, nginxConfig(place), nginxCommand) },
  haproxy: { program: 'haproxy', launch: place => configured(place, haproxyConfig(place, 'http/1.1'), haproxyCommand) },
  'haproxy-h2': { program: 'haproxy', launch: place => configured(place, haproxyConfig(place, 'h2'), haproxyCommand) },
  caddy: { program: 'caddy', launch: place => configured(place, caddyConfig(place), caddyCommand) },
  'http-proxy': { program: 'node', launch: place => nodePeer(place, 'http-proxy') },
  undici: { program: 'node', launch: place => nodePeer(place, 'undici') },
};

/** The certificate of this side. */
export function credentialsOf({ dir, role }: Place) {
  const who = role === 'inbound' ? 'server' : 'client';
  return { key: join(dir, `${who}.key`), cert: join(dir, `${who}.pem`), ca: join(dir, 'ca.pem') };
}

function environment(place: Place): Record<string, string> {
  const { key, cert, ca } = credentialsOf(place);
  const ports = { LISTEN_PORT: String(place.port), UPSTREAM_PORT: String(place.upstreamPort) };
  return { MESH_ROLE: place.role, ...ports, TLS_KEY: key, TLS_CERT: cert, TLS_CA: ca };
}

function mesolite(place: Place, extra: Record<string, string> = {}): Launch {
  const full = { MESH_FULL: '1', ACCESS_LOG: join(place.dir, `${place.label}.log`) };
  const command = ['node', ...nodeFlags, script('../proxy-alone.js')];
  return { command, env: { ...environment(place), ...full, ...extra } };
}

function nodePeer(place: Place, kind: string): Launch {
  const env = { ...environment(place), NODE_ENV: 'production' };
  return { command: ['node', '--no-deprecation', script('node-peers.js'), kind], env };
}

function configured(place: Place, text: string, command: (file: string) => readonly string[]): Launch {
  const file = join(place.dir, `${place.label}.conf`);
  writeFileSync(file, text);
  const home = { HOME: place.dir, XDG_CONFIG_HOME: place.dir, XDG_DATA_HOME: place.dir, GOMAXPROCS: '1' };
  return { command: command(file), env: home };
}

const nginxCommand = (file: string) => ['nginx', '-e', `${file}.errors`, '-c', file];
const haproxyCommand = (file: string) => ['haproxy', '-db', '-f', file];
const caddyCommand = (file: string) => ['caddy', 'run', '--config', file];

function nginxConfig(place: Place): string {
  const { dir, label, role, port, upstreamPort } = place;
  const { key, cert, ca } = credentialsOf(place);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const listen =
    role === 'outbound'
      ? `listen 127.0.0.1:${port} backlog=4096;`
      : `listen 127.0.0.1:${port} ssl backlog=4096;
    ssl_certificate ${cert}; ssl_certificate_key ${key};
    ssl_client_certificate ${ca}; ssl_verify_client on;
    ssl_protocols TLSv1.3; ssl_session_tickets on; ssl_session_cache shared:sessions:1m;`;
  const pass =
    role === 'outbound'
      ? `proxy_pass https://app; proxy_ssl_name localhost; proxy_ssl_session_reuse on; proxy_ssl_protocols TLSv1.3;
      proxy_ssl_certificate ${cert}; proxy_ssl_certificate_key ${key}; proxy_ssl_trusted_certificate ${ca}; proxy_ssl_verify on;`
      : `if ($allowed = 0) { return 403; }
      limit_req zone=callers burst=100000 nodelay;
      proxy_pass http://app; proxy_set_header X-Forwarded-Client-Cert $ssl_client_s_dn;`;
  const log = role === 'outbound' ? 'off' : `${join(dir, label)}.log full buffer=64k flush=1s`;
  return `
daemon off; master_process off; worker_processes 1; pid ${join(dir, label)}.pid; error_log ${join(dir, label)}.errors crit;
events { worker_connections 4096; use epoll; multi_accept on; }
http {
  ${temporary.map(name => `${name}_temp_path ${join(dir, label)}.${name};`).join(' ')}
  keepalive_requests 100000000; keepalive_timeout 3600s; tcp_nodelay on; client_max_body_size 0;
  log_format full '$time_iso8601 $ssl_client_s_dn "$request" $status $body_bytes_sent $request_time';
  access_log ${log};
  map $ssl_client_s_dn:$request_method $allowed { default 0; "~^CN=client:(GET|POST)$" 1; }
  limit_req_zone $ssl_client_s_dn zone=callers:1m rate=1000000r/s;
  upstream app { server 127.0.0.1:${upstreamPort}; keepalive 64; keepalive_requests 100000000; keepalive_timeout 3600s; }
  server {
    ${listen}
    location / {
      ${pass}
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
    }
  }
}
`;
}

function haproxyConfig(place: Place, leg: 'http/1.1' | 'h2'): string {
  const { dir, role, port, upstreamPort } = place;
  const { ca } = credentialsOf(place);
  const both = join(dir, role === 'inbound' ? 'server.both.pem' : 'client.both.pem');
  const bind =
    role === 'outbound'
      ? ''
      : `ssl crt ${both} ca-file ${ca} verify required ssl-min-ver TLSv1.3 alpn ${leg === 'h2' ? 'h2,' : ''}http/1.1`;
  const checks =
    role === 'outbound'
      ? ''
      : `option httplog
  http-request set-header X-Forwarded-Client-Cert %[ssl_c_s_dn]
  acl who ssl_c_s_dn(cn) -m str client
  acl how method GET POST
  acl where path_beg /
  stick-table type string size 1k expire 30s store http_req_rate(1s)
  http-request track-sc0 ssl_c_s_dn(cn)
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000 }
  http-request deny unless who how where`;
  const tls = `ssl verify required ca-file ${ca} crt ${both} sni str(localhost) verifyhost localhost ssl-min-ver TLSv1.3 alpn ${leg}`;
  return `
global
  nbthread 1
  maxconn 4096
  tune.ssl.cachesize 20000
  log stdout format raw local0
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  http-reuse always
  ${role === 'inbound' ? 'log global' : ''}
frontend clients
  bind 127.0.0.1:${port} ${bind}
  ${checks}
  default_backend app
backend app
  server one 127.0.0.1:${upstreamPort} ${role === 'outbound' ? tls : ''}
`;
}

function caddyConfig(place: Place): string {
  const { key, cert, ca } = credentialsOf(place);
  const proxy = {
    handler: 'reverse_proxy',
    upstreams: [{ dial: `127.0.0.1:${place.upstreamPort}` }],
    transport: { protocol: 'http', keep_alive: { enabled: true, max_idle_conns_per_host: 256 } },
  };
  const server = {
    listen: [`127.0.0.1:${place.port}`],
    protocols: ['h1'],
    automatic_https: { disable: true },
    // with client certificates it would refuse a Host that is not the server name
    strict_sni_host: false,
    routes: [{ handle: [proxy] }],
    tls_connection_policies: [
      {
        client_authentication: { trusted_ca_certs_pem_files: [ca], mode: 'require_and_verify' },
        protocol_min: 'tls1.3',
      },
    ],
  };
  const tls = { certificates: { load_files: [{ certificate: cert, key }] } };
  const quiet = { logs: { default: { level: 'ERROR' } } };
  return JSON.stringify({ admin: { disabled: true }, logging: quiet, apps: { http: { servers: { server } }, tls } });
}

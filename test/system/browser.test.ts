/** A page in a real browser, from outside of the mesh: a published port carries it and its WebSocket. */
import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { WebSocketServer } from 'ws';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { byTask, Mesh, startNode } from '../fixtures/proxy-node.ts';

const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const settings = browser === undefined ? { skip: 'there is no chromium on this machine' } : {};

const page = `<!doctype html><script>
  const socket = new WebSocket('ws://' + location.host + '/socket');
  socket.onopen = () => socket.send('hello from the page');
  socket.onmessage = ({ data }) => fetch('/seen', { method: 'POST', body: data });
</script>`;

t.test('a page loads, opens a WebSocket, and tells what it heard by a POST', settings, async t => {
  const ears = new EventEmitter();
  const told = once(ears, 'told');
  const server = createServer(async (request, response) => {
    if (request.url === '/seen') ears.emit('told', await text(request));
    response.setHeader('content-type', 'text/html').end(page);
  });
  const sockets = new WebSocketServer({ server, path: '/socket' });
  sockets.on('connection', socket => socket.on('message', data => socket.send(`heard: ${data}`)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const appPort = typeof address === 'object' && address !== null ? address.port : 0;

  const mesh = new Mesh();
  const port = await new FreePorts().take();
  const node = await startNode(t, {});
  const application = { service: 'web.default', host: '127.0.0.1', port: appPort, protocol: 'http' } as const;
  node.workloads.set(byTask([{ ...mesh.workload('web', {}), published: [{ port, application }] }]));

  const profile = mkdtempSync(join(tmpdir(), 'mesolite-browser-'));
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];
  const alone = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage'];
  const child = spawn(browser ?? '', [...alone, ...quiet, `--user-data-dir=${profile}`, `http://127.0.0.1:${port}/`], {
    stdio: 'ignore',
    detached: true,
  });
  t.teardown(async () => {
    const ended = once(child, 'exit');
    // its helpers are in its process group
    process.kill(-(child.pid ?? 0), 'SIGKILL');
    await ended;
    rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  });
  t.same(await told, ['heard: hello from the page']);
  await node.recorded(2);
  t.match(node.records[0], { method: 'GET', path: '/', status: 200, source: '-', verdict: 'allow' });
});

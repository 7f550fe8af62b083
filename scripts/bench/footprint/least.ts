/**
 * The least that Node takes to do what an agent at rest does: each ten seconds it wakes, writes as much as a heartbeat to a connection of
 * TLS, and asks a server of HTTP whether it is well. `least.js <directory of credentials> <port of TLS> <port of HTTP>`
 */
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { interpretAlone } from '../../../src/device/optimizer.ts';

const everyMs = 10_000;
const heartbeatBytes = 50;

interpretAlone();
const [dir = '', tlsPort, httpPort] = process.argv.slice(2);
const [ca, cert, key] = ['ca.pem', 'client.pem', 'client.key'].map(name => readFileSync(join(dir, name)));
const link = connect({ host: 'localhost', port: Number(tlsPort), ca, cert, key });
link.resume();
setInterval(() => link.write(Buffer.alloc(heartbeatBytes)), everyMs);

function ask(): void {
  const asked = request({ host: '127.0.0.1', port: Number(httpPort), agent: false });
  asked.on('response', () => asked.destroy());
  asked.end();
}
// at another moment than the heartbeat, as it is with tasks
setTimeout(() => setInterval(ask, everyMs), everyMs / 2);
// when its start is over
setTimeout(() => globalThis.gc?.(), everyMs);

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createServer, type Server } from 'node:tls';
import { printCertificates } from '../../../src/identity/certificate.ts';
import { serverTlsOptions, type TlsIdentity } from '../../../src/identity/contexts.ts';
import { topics } from '../../../src/model/topics.ts';
import { until } from '../../fixtures/fleet-until.ts';
import { makeTestAuthority } from '../../fixtures/test-authority.ts';
import { type Arena, withPort } from './arena.ts';
import { type Attack, type Attempt, presume } from './attack.ts';
import { startProgram } from './programs.ts';

/** A server that takes whoever comes, as TLS goes, and counts what is said to it. */
class Rogue {
  readonly #server: Server;
  /** Connections that have come. */
  visits = 0;
  /** What was said to it inside TLS. */
  bytes = 0;

  constructor(arena: Arena, identity: TlsIdentity) {
    this.#server = createServer(serverTlsOptions(identity, arena.bundle, 'caller'));
    this.#server.on('tlsClientError', () => {});
    this.#server.on('connection', () => {
      this.visits++;
    });
    this.#server.on('secureConnection', socket => {
      socket.on('error', () => {});
      socket.on('data', chunk => {
        this.bytes += chunk.length;
      });
    });
  }

  async open(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  close(): void {
    this.#server.close();
  }
}

/** A node is told to join at the rogue's address; it must give up without a word. */
async function joinAt(arena: Arena, what: string, identity: TlsIdentity): Promise<Attempt> {
  const rogue = new Rogue(arena, identity);
  const string = withPort(await arena.api.joinString(), await rogue.open());
  const dataDir = join(arena.directory, `lured-${what.replace(/\W+/g, '-')}`);
  const args = ['join', string, '--node', 'lured', '--data', dataDir];
  const code = await startProgram(args, `${dataDir}.log`).ended;
  rogue.close();
  presume(
    rogue.visits > 0 && sawThrough(`${dataDir}.log`),
    'the node has come to the rogue, and left it for what it is',
  );
  return { what: `${what}: ${rogue.bytes} bytes were said to it`, refused: rogue.bytes === 0 && code !== 0 };
}

/** Does the log say that somebody was taken for who he is? */
function sawThrough(logFile: string): boolean {
  return readFileSync(logFile, 'utf8').includes('is not the broker it should be');
}

/** Its chain and the true root behind it, which is no secret. */
function withTrueRoot(arena: Arena, { keyPem, chainPem }: TlsIdentity): TlsIdentity {
  return { keyPem, chainPem: chainPem + printCertificates(arena.bundle.roots) };
}

const master: Attack = {
  name: 'rogue master',
  async mount(arena) {
    const other = makeTestAuthority(Date.now(), { trustDomain: arena.trustDomain }).server();
    const attempts = [
      await joinAt(arena, 'a root of its own', other),
      await joinAt(arena, 'a root of its own, the true one shown beside it', withTrueRoot(arena, other)),
    ];
    return { attempts, how: 'the node leaves before it has said a byte' };
  },
};

const broker: Attack = {
  name: "rogue broker with a node's certificate",
  async mount(arena) {
    const stolen = withTrueRoot(arena, arena.insider.node('stolen'));
    const joining = await joinAt(arena, 'a node that joins', stolen);
    const rogue = new Rogue(arena, stolen);
    const port = await rogue.open();
    arena.relay.lead(port);
    await until('pi-1 has come to the rogue, and again', () => rogue.visits >= 2);
    const policyHolds = (await arena.status('/private')) === 403;
    arena.relay.lead(arena.mqttPort);
    const { eavesdropper } = arena;
    const since = eavesdropper.heard.length;
    await eavesdropper.until('pi-1 is back', ({ topic }) => topic === topics.up('pi-1', 'birth'), since, 60_000);
    rogue.close();
    const what = `a node that has joined: ${rogue.bytes} bytes were said to it`;
    return {
      attempts: [joining, { what, refused: rogue.bytes === 0 && policyHolds }],
      how: 'the agent leaves before it has said a byte, and finds the true one again',
    };
  },
};

/** Attacks by one who stands in for the master. */
export const rogues: readonly Attack[] = [master, broker];

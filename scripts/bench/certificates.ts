/** What a handshake and a certificate cost one core: P-256 as it is used here, and RSA-2048. */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer, type TlsOptions } from 'node:tls';
import forge from 'node-forge';
import { generateKeyPair } from '../../src/identity/keys.ts';
import { createRequest } from '../../src/identity/request.ts';
import { makeTestAuthority } from '../../test/fixtures/test-authority.ts';

const handshakes = 250;
/** However loaded the machine is, one measurement ends by then. */
const mostMs = 6_000;

/** CPU time of this process in seconds, of all its threads. */
function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** How often a core does `work` in a second. */
function perSecond(times: number, work: () => void): number {
  work();
  const before = cpuSeconds();
  const end = performance.now() + mostMs;
  let done = 0;
  for (; done < times && performance.now() < end; done++) work();
  return done / (cpuSeconds() - before);
}

interface Credentials {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

/** Full mutual TLS 1.3 handshakes, both ends together. */
async function handshakesPerSecond(credentials: Credentials): Promise<number> {
  const common = { ...credentials, minVersion: 'TLSv1.3' } as const satisfies TlsOptions;
  const server = createServer({ ...common, requestCert: true, rejectUnauthorized: true }, socket => {
    socket.on('error', () => {});
    socket.end('x');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const shake = async () => {
    const socket = connect({ ...common, host: '127.0.0.1', port, checkServerIdentity: () => undefined });
    socket.resume();
    await once(socket, 'close');
  };
  await shake();
  const before = cpuSeconds();
  const end = performance.now() + mostMs;
  let done = 0;
  for (; done < handshakes && performance.now() < end; done++) await shake();
  const spent = cpuSeconds() - before;
  server.close();
  return done / spent;
}

function p256(): Credentials {
  const { authority, node } = makeTestAuthority(Date.now());
  const { keyPem, chainPem } = node('bench');
  return { key: keyPem, cert: chainPem, ca: authority.rootPem };
}

/** As many certificates in the chain: a root, an issuing authority, a leaf. */
function rsa2048(): Credentials {
  const dir = mkdtempSync(join(tmpdir(), 'mesolite-bench-'));
  const at = (name: string) => join(dir, name);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const certify = (name: string, issuer: string, extension: string) => {
    writeFileSync(at(`${name}.ext`), extension);
    openssl(
      'req',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      at(`${name}.key`),
      '-out',
      at(`${name}.csr`),
    );
    const by = ['-CA', at(`${issuer}.pem`), '-CAkey', at(`${issuer}.key`), '-CAcreateserial'];
    openssl(
      'x509',
      '-req',
      '-in',
      at(`${name}.csr`),
      ...by,
      '-days',
      '2',
      '-extfile',
      at(`${name}.ext`),
      '-out',
      at(`${name}.pem`),
    );
  };
  const read = (name: string) => readFileSync(at(name), 'utf8');
  try {
    openssl(
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-subj',
      '/CN=root',
      '-days',
      '2',
      '-keyout',
      at('root.key'),
      '-out',
      at('root.pem'),
    );
    certify('issuing', 'root', 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n');
    certify('leaf', 'issuing', 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n');
    return { key: read('leaf.key'), cert: read('leaf.pem') + read('issuing.pem'), ca: read('root.pem') };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** A certificate for a request, whose signature is checked first. */
function forgeIssuer(): () => void {
  const authority = forge.pki.rsa.generateKeyPair(2048);
  const own = forge.pki.rsa.generateKeyPair(2048);
  const request = forge.pki.createCertificationRequest();
  request.publicKey = own.publicKey;
  request.setSubject([{ name: 'commonName', value: 'bench' }]);
  request.sign(own.privateKey, forge.md.sha256.create());
  const pem = forge.pki.certificationRequestToPem(request);
  return () => {
    const read = forge.pki.certificationRequestFromPem(pem);
    if (!read.verify() || read.publicKey === null) throw new Error('the request does not verify');
    const certificate = forge.pki.createCertificate();
    certificate.publicKey = read.publicKey;
    certificate.serialNumber = '01';
    certificate.validity.notAfter.setDate(certificate.validity.notBefore.getDate() + 1);
    certificate.setSubject(read.subject.attributes);
    certificate.setIssuer([{ name: 'commonName', value: 'issuing' }]);
    certificate.sign(authority.privateKey, forge.md.sha256.create());
    forge.pki.certificateToPem(certificate);
  };
}

export interface Costs {
  readonly handshakes: readonly [number, number];
  readonly issued: readonly [number, number];
  readonly keys: readonly [number, number];
  readonly signatures: readonly [number, number];
}

/** Each a second of one core: ours first. */
export async function measureCertificates(): Promise<Costs> {
  const { authority } = makeTestAuthority(Date.now());
  const csr = createRequest(`spiffe://${authority.trustDomain}/node/bench`, generateKeyPair());
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const text = Buffer.alloc(600, 1);
  return {
    handshakes: [await handshakesPerSecond(p256()), await handshakesPerSecond(rsa2048())],
    issued: [perSecond(500, () => authority.issueNode(csr, 'bench', Date.now())), perSecond(30, forgeIssuer())],
    keys: [
      perSecond(200, () => generateKeyPair()),
      perSecond(20, () => generateKeyPairSync('rsa', { modulusLength: 2048 })),
    ],
    signatures: [perSecond(2000, () => sign('sha256', text, ec)), perSecond(500, () => sign('sha256', text, rsa))],
  };
}

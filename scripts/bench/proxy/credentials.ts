/** Keys and certificates for the proxies that are compared, by one authority; with names in the subject, by which nginx and HAProxy judge. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Writes `ca.pem`, and for `server` and `client` a `.key`, a `.pem` and both in one, into `dir`. */
export function writeCredentials(dir: string): void {
  const at = (name: string) => join(dir, name);
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...key, '-subj', '/CN=bench', '-days', '2', '-keyout', 'ca.key', '-out', 'ca.pem');
  for (const who of ['server', 'client']) {
    const names = `URI:spiffe://edge.local/ns/default/sa/${who},DNS:localhost,IP:127.0.0.1`;
    const extensions = `subjectAltName=${names}\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n`;
    writeFileSync(at(`${who}.ext`), extensions);
    openssl('req', ...key, '-subj', `/CN=${who}`, '-keyout', `${who}.key`, '-out', `${who}.csr`);
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', `${who}.ext`];
    openssl('x509', '-req', '-in', `${who}.csr`, ...by, '-out', `${who}.pem`);
    writeFileSync(
      at(`${who}.both.pem`),
      readFileSync(at(`${who}.pem`), 'utf8') + readFileSync(at(`${who}.key`), 'utf8'),
    );
  }
}

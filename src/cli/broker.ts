import { mkdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { generateKeyPair, printPrivateKey } from '../identity/keys.ts';
import { createRequest } from '../identity/request.ts';
import { brokerCertificateSchema } from '../model/api.ts';
import { authorityViewSchema } from '../model/certificate.ts';
import { printSpiffeId } from '../model/identity.ts';
import { collect, parsePort } from './arguments.ts';
import {
  type MosquittoSettings,
  mosquittoConfig,
  mosquittoFiles,
  mosquittoJoinsAcl,
  mosquittoNodesAcl,
} from './mosquitto-config.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';

interface Flags {
  readonly port: number;
  readonly joinPort?: number;
  readonly name?: readonly string[];
  readonly out?: string;
  readonly dir?: string;
}

const defaultDir = '/etc/mosquitto/mesolite';

/** `mesolite broker config mosquitto` */
export function addBroker(program: Command, shell: Shell): void {
  const command = program
    .command('broker')
    .description('let a broker that you run carry the messages')
    .command('config')
    .description('print how a broker is to be set up')
    .command('mosquitto')
    .description('for mosquitto 2.0: print its files, or write them with a certificate from the master')
    .option('--port <port>', 'port for the master and for nodes', parsePort, 8883)
    .option('--join-port <port>', 'port for those who join; the next one when left out', parsePort)
    .option('--name <host>', 'name or address at which it is reached; may be repeated', collect)
    .option('--out <dir>', 'write the files and a new key into this folder, and have the master certify it')
    .option('--dir <dir>', `folder in which mosquitto finds them; ${defaultDir}, or that of --out`);
  command.action(async (flags: Flags) => {
    const { port, joinPort = port + 1, out, dir = out === undefined ? defaultDir : resolve(out) } = flags;
    const settings = { dir, port, joinPort };
    if (out === undefined) return printFiles(shell, settings);
    const pems = await certify(shell, command, flags.name ?? [hostname(), 'localhost', '127.0.0.1']);
    writeFiles(resolve(out), { ...textsOf(settings), ...pems });
    remark(
      shell,
      `${resolve(out)} holds ${Object.values(mosquittoFiles).join(', ')}; mosquitto must be able to read them.`,
    );
    remark(shell, `start it:    mosquitto -c ${join(dir, mosquittoFiles.config)}`);
    remark(shell, `then run:    mesolite master --broker mqtts://HOST:${port} --broker-join-port ${joinPort}`);
  });
}

function textsOf(settings: MosquittoSettings): Record<string, string> {
  const { config, nodes, joins } = mosquittoFiles;
  return { [config]: mosquittoConfig(settings), [nodes]: mosquittoNodesAcl(), [joins]: mosquittoJoinsAcl() };
}

function printFiles(shell: Shell, settings: MosquittoSettings): void {
  for (const [name, text] of Object.entries(textsOf(settings))) {
    print(shell, `# --- ${join(settings.dir, name)}\n${text}`);
  }
  const { certificate, key, ca } = mosquittoFiles;
  remark(shell, `it also needs ${certificate}, ${key} and ${ca} there: --out DIR writes them all`);
}

/** A key that never leaves this machine, and its certificate. */
async function certify(shell: Shell, command: Command, names: readonly string[]): Promise<Record<string, string>> {
  const session = openSession(shell, command);
  const { trustDomain } = await session.get('/v1/authority', authorityViewSchema);
  const keys = generateKeyPair();
  const csr = createRequest(printSpiffeId({ kind: 'broker', trustDomain }), keys).toString('base64');
  const { chain, roots } = await session.post('/v1/broker-certificates', { csr, names }, brokerCertificateSchema);
  const { ca, certificate, key } = mosquittoFiles;
  return { [ca]: roots, [certificate]: chain, [key]: printPrivateKey(keys.privateKey) };
}

function writeFiles(dir: string, texts: Readonly<Record<string, string>>): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    for (const [name, text] of Object.entries(texts)) {
      writeFileSync(join(dir, name), text, { mode: name === mosquittoFiles.key ? 0o600 : 0o644 });
    }
  } catch (cause) {
    throw new MesoliteError('INVALID_INPUT', `--out: the files cannot be written: ${messageOf(cause)}`, { cause });
  }
}

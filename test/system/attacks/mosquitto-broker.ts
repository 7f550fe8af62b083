import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { mosquittoFiles } from '../../../src/cli/mosquitto-config.ts';
import { spawnMosquitto } from '../../fixtures/mosquitto.ts';
import { presume } from './attack.ts';
import { startProgram } from './programs.ts';

/** Starts a mosquitto as `mesolite broker config mosquitto` sets it up; returns how to stop it. Its owner lets `spies` do everything. */
export async function mosquittoAt(
  home: string,
  settings: {
    readonly masterDir: string;
    readonly apiPort: number;
    readonly port: number;
    readonly joinPort: number;
    readonly spies: readonly string[];
  },
): Promise<() => Promise<void>> {
  const { masterDir, apiPort, port, joinPort, spies } = settings;
  mkdirSync(home);
  const dir = join(home, 'files');
  const mesolite = async (...args: string[]) => {
    const program = startProgram(args, join(home, 'cli.log'), { MESOLITE_CONFIG: join(home, 'contexts') });
    presume((await program.ended) === 0, `mesolite ${args.slice(0, 3).join(' ')} works`);
  };
  const secrets = ['--ca', join(masterDir, 'ca.pem'), '--token-file', join(masterDir, 'operator.token')];
  await mesolite('context', 'set', 'here', '--server', `https://127.0.0.1:${apiPort}`, ...secrets);
  const ports = ['--port', `${port}`, '--join-port', `${joinPort}`, '--name', '127.0.0.1'];
  await mesolite('broker', 'config', 'mosquitto', ...ports, '--out', dir);
  for (const name of spies) {
    appendFileSync(join(dir, mosquittoFiles.nodes), `\nuser ${name}\ntopic readwrite mesolite/v1/#\n`);
  }
  return (await spawnMosquitto(dir, port)).stop;
}

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { parseName, parsePort } from './arguments.ts';
import { AnsweredNo } from './exit-codes.ts';
import { type JoinFileOptions, readJoinFile, withJoinFile } from './join-string.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import type { CliParts, DoctorOptions } from './roles.ts';
import { print, type Shell } from './shell.ts';

interface Flags extends Omit<DoctorOptions, 'dataDir'>, JoinFileOptions, OutputOptions {
  readonly data?: string;
}

const usualData = '.mesolite/agent';
/** That of the agent as a package or install.sh installs it. */
const serviceData = '/var/lib/mesolite-agent';

/** `mesolite doctor` */
export function addDoctor(program: Command, shell: Shell, examineNode: CliParts['examineNode']): void {
  const command = program
    .command('doctor')
    .description('look whether this node has what an agent needs, and say what helps; changes nothing')
    .option('--data <dir>', `directory of the agent (default: "${usualData}", or where there is none "${serviceData}")`)
    .option('--mesh-port <port>', 'as for the agent', parsePort)
    .option('--outbound-port <port>', 'as for the agent', parsePort)
    .option('--task-user <name>', 'as for the agent')
    .option('--profile <name>', 'as for the agent', parseName)
    .option('--profiles <dir>', 'as for the agent');
  withOutput(withJoinFile(command)).action(
    async ({ data = dataHere(), joinFile, tokenFile, output, ...options }: Flags) => {
      const join =
        readJoinFile({ ...(joinFile && { joinFile }), ...(tokenFile && { tokenFile }) }) ?? shell.env.MESOLITE_JOIN;
      const findings = await examineNode({ dataDir: resolve(data), ...(join && { join }), ...options }, shell.signal);
      printAs(shell, output, { findings }, () => {
        for (const { check, state, what, fix } of findings) {
          print(shell, `${marks[state]} ${check}: ${what}`);
          if (fix !== undefined && state !== 'ok') print(shell, `          ${fix}`);
        }
      });
      if (findings.some(({ state }) => state === 'failure')) throw new AnsweredNo();
    },
  );
}

function dataHere(): string {
  return !existsSync(usualData) && existsSync(serviceData) ? serviceData : usualData;
}

const marks = { ok: 'ok       ', note: 'note     ', warning: 'warning  ', failure: 'FAILURE  ' } as const;

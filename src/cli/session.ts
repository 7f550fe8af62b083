import type { Command } from 'commander';
import { type ApiClient, makeApiClient } from './api-client.ts';
import { chooseContext } from './contexts.ts';
import type { Shell } from './shell.ts';

/** The API of the master that this command is for: `--context`, `$MESOLITE_CONTEXT` or the current context. */
export function openSession(shell: Shell, command: Command): ApiClient {
  const { context: asked } = command.optsWithGlobals<{ context?: string }>();
  return makeApiClient(chooseContext(shell, asked).context, shell.signal);
}

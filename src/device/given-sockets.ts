import type { Server } from 'node:net';

/** A socket that listens already: the server of the process before, or a descriptor. */
export type GivenSocket = Server | { readonly fd: number };

/** Sockets that are there before this process listens, by the names of the proxy's `GivenListeners`. */
export interface GivenSockets {
  /** Undefined when there is none of that name: the caller opens its own. */
  take(name: string): Promise<GivenSocket | undefined>;
}

/** The first descriptor that systemd hands over. */
const firstDescriptor = 3;

/**
 * Sockets by systemd's socket activation (sd_listen_fds(3)), called as FileDescriptorName= says in the .socket unit. What is in the
 * variables for another process is not ours. Undefined when there are none.
 */
export function systemdSockets(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): GivenSockets | undefined {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = '' } = env;
  const count = LISTEN_PID === `${pid}` && /^\d{1,2}$/.test(LISTEN_FDS ?? '') ? Number(LISTEN_FDS) : 0;
  if (count === 0) return undefined;
  const names = LISTEN_FDNAMES.split(':').slice(0, count);
  return {
    async take(name) {
      const at = names.indexOf(name);
      return at < 0 ? undefined : { fd: firstDescriptor + at };
    },
  };
}

import type { TLSSocket } from 'node:tls';
import { MesoliteError } from '../base/errors.ts';
import { verifySocket } from '../identity/contexts.ts';
import type { Moments } from './moments.ts';
import type { Trust } from './trust.ts';

/** Is it the master at the other end of the link, or the broker between? */
export interface MasterCheck {
  /** Asked before a byte is sent; an error refuses. */
  verify(socket: TLSSocket): Error | undefined;
  /** Judges the present connection again, once the time or trust has changed: what has expired stays expired. */
  recheck(): void;
}

export function makeMasterCheck(parts: {
  readonly trust: Pick<Trust, 'current'>;
  readonly moments: Pick<Moments, 'master'>;
}): MasterCheck {
  const { trust, moments } = parts;
  let present: TLSSocket | undefined;

  function whyNot(socket: TLSSocket): Error | undefined {
    const moment = moments.master();
    const verified = verifySocket(socket, trust.current.value.bundle, 'server', moment);
    if (!verified.ok) {
      const clock = new Date(moment.now).toISOString();
      return new MesoliteError('UNTRUSTED', `${verified.reason}; the clock of this node says ${clock}`);
    }
    const { id, uri } = verified.peer;
    // a broker of others carries what the master has signed
    const isOurs = id.kind === 'master' || id.kind === 'broker';
    return isOurs ? undefined : new MesoliteError('UNTRUSTED', `${uri} is neither the master nor a broker`);
  }

  return {
    verify(socket) {
      const error = whyNot(socket);
      if (error === undefined) present = socket;
      return error;
    },
    recheck() {
      const error = present?.destroyed === false ? whyNot(present) : undefined;
      if (error !== undefined) present?.destroy(error);
    },
  };
}

import { type Dial, type TlsDialParts, tlsDial } from '../link/dial.ts';
import { wsDial } from '../link/ws-dial.ts';

/** Where a master takes MQTT. */
export interface MasterAddress {
  readonly host: string;
  readonly port: number;
  /** Where it takes MQTT over WebSocket, too, on the same host. */
  readonly wssPort?: number | undefined;
}

/** The ways to the masters: each address by MQTT over TLS, and those that have one by WebSocket. */
export function masterDials(
  parts: TlsDialParts,
  masters: readonly MasterAddress[],
): { readonly mqtts: readonly Dial[]; readonly wss: readonly Dial[] } {
  return {
    mqtts: masters.map(address => tlsDial(parts, address)),
    wss: masters.flatMap(({ host, wssPort }) =>
      wssPort === undefined ? [] : [wsDial(parts, { host, port: wssPort })],
    ),
  };
}

import { minuteMs } from '../base/clock.ts';
import type { Birth, DocumentAck } from '../model/message.ts';
import type { Events } from './events.ts';
import type { FleetChange } from './fleet.ts';

/** A clock that was wrong by less is no news. */
const clockErrorMs = minuteMs;

/** Tells operators what nodes say of themselves, and what is seen of them. */
export interface NodeEvents {
  /** `before` is what the node said the last time. */
  onBirth(node: string, birth: Birth, before: Birth | null): void;
  onAck(node: string, ack: DocumentAck): void;
  onChange(node: string, change: FleetChange): void;
  /** It has connected with a certificate that has expired, inside the grace. */
  onExpired(node: string, address: string): void;
}

export function makeNodeEvents({ events }: { readonly events: Pick<Events, 'record'> }): NodeEvents {
  return {
    onBirth(node, { via, clock, boot }, before) {
      if (via === 'wss' && before?.via !== 'wss') {
        events.record('link-fallback', { node, message: 'its network lets no MQTT out: it comes by WebSocket' });
      }
      if (via === 'mqtts' && before?.via === 'wss') {
        events.record('link-restored', { node, message: 'it comes by MQTT again' });
      }
      if (clock === undefined || before?.boot === boot) return;
      if (!clock.known) {
        events.record('clock-corrected', {
          node,
          message: 'it does not know the time yet: it has no clock, or a wrong one',
        });
      } else if (Math.abs(clock.offsetMs) >= clockErrorMs) {
        const message = `its clock is ${printError(clock.offsetMs)}: it goes by the master's time`;
        events.record('clock-corrected', { node, message });
      }
    },
    onAck(node, { kind, subject, reason, withheld }) {
      const what = kind === 'service' ? `service ${subject}` : kind;
      if (withheld === true) {
        events.record('document-withheld', { node, message: `${what}: ${reason ?? 'the newest did not come'}` });
      } else if (reason !== undefined) {
        events.record('document-refused', { node, message: `${what}: ${reason}` });
      }
    },
    onExpired(node, address) {
      const message = `it came back from ${address} with a certificate that has expired: it may renew it, and nothing else before`;
      events.record('certificate-expired', { node, message });
    },
    onChange(node, change) {
      if (change === 'unreachable') events.record('node-unreachable', { node, message: 'it is not heard any more' });
      if (change === 'back') events.record('node-ready', { node, message: 'it is heard again' });
    },
  };
}

function printError(offsetMs: number): string {
  const minutes = Math.round(Math.abs(offsetMs) / minuteMs);
  const amount =
    minutes < 120
      ? `${minutes} minutes`
      : minutes < 2880
        ? `${Math.round(minutes / 60)} hours`
        : `${Math.round(minutes / 1440)} days`;
  return `${amount} ${offsetMs > 0 ? 'behind' : 'ahead'}`;
}

import { minuteMs } from '../base/clock.ts';
import type { Birth, DocumentAck } from '../model/message.ts';
import { isOverBudget, isOverData, mostOf, printMegabytes, type Spent, sumOf } from '../model/spent.ts';
import type { TaskStatus } from '../model/task.ts';
import type { Events } from './events.ts';
import type { FleetChange } from './fleet.ts';

/** A clock that was wrong by less is no news. */
const clockErrorMs = minuteMs;

/** Tells operators what nodes say of themselves, and what is seen of them. */
export interface NodeEvents {
  /** `before` is what the node said the last time. */
  onBirth(node: string, birth: Birth, before: Birth | null): void;
  /** `before` likewise. */
  onSpent(node: string, spent: Spent | undefined, before: Spent | undefined): void;
  onAck(node: string, ack: DocumentAck): void;
  /** Before `status` it has dropped so many, as too many waited for the master. */
  onLost(node: string, lost: number, status: TaskStatus): void;
  onChange(node: string, change: FleetChange): void;
  /** It has a certificate of this authority, and is in no database. */
  onUnknown(node: string): void;
  /** It has connected with a certificate that has expired, inside the grace. */
  onExpired(node: string, address: string): void;
}

export function makeNodeEvents({ events }: { readonly events: Pick<Events, 'record'> }): NodeEvents {
  /** What was said before may be said again. */
  const gaps = new Map<string, string>();
  return {
    onLost(node, lost, { uuid }) {
      if (gaps.get(node) === uuid) return;
      gaps.set(node, uuid);
      const message = `${lost} statuses of its tasks are missing: more waited for the master than a node keeps`;
      events.record('statuses-lost', { node, message });
    },
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
    onSpent(node, spent, before) {
      if (spent === undefined) return;
      const { disk, link } = spent;
      if (isOverBudget(disk) && !(before && isOverBudget(before.disk))) {
        const [most = ''] = mostOf(disk.byPurpose);
        const written = `${printMegabytes(sumOf(disk.byPurpose))} in 24 hours, most of it ${most}`;
        const message = `its disk is written to more than its profile allows: ${written}, of ${printMegabytes(disk.budgetBytes ?? 0)}`;
        events.record('node-wears-out', { node, message });
      }
      if (link && isOverData(link) && !(before?.link && isOverData(before.link))) {
        const used = `${printMegabytes(link.dayBytes)} in 24 hours, of ${printMegabytes(link.budgetBytes ?? 0)}`;
        events.record('node-over-data-budget', {
          node,
          message: `its metered link takes more data than meant: ${used}`,
        });
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
    onUnknown(node) {
      const message = `it has an identity and is not known here: it joined after this database was copied. Its tasks go on: mesolite token create --node ${node}, and on the node mesolite join --replace --node ${node} --join-file FILE`;
      events.record('node-unknown', { node, message });
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

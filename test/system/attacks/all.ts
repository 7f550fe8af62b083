import { type Attack, overWebSocket } from './attack.ts';
import { brokers } from './broker.ts';
import { cards } from './cards.ts';
import { certificates } from './certificates.ts';
import { clocks } from './clocks.ts';
import { envelopes, forgeries } from './envelopes.ts';
import { joins, proofs } from './joins.ts';
import { mosquittos } from './mosquitto.ts';
import { rogues } from './rogue.ts';

/** Every attack on our own broker, in the order in which they are mounted. */
export const attacks: readonly Attack[] = [
  ...joins,
  ...rogues,
  ...brokers,
  ...[...joins, ...brokers].map(overWebSocket),
  ...envelopes,
  ...certificates,
  ...cards,
  ...clocks,
];

/** Those on a fleet whose broker is a mosquitto. */
export const attacksOnMosquitto: readonly Attack[] = [...proofs, ...forgeries, ...mosquittos].map(attack => ({
  ...attack,
  name: `${attack.name}, on mosquitto`,
}));

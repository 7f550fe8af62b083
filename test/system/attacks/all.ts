import type { Attack } from './attack.ts';
import { brokers } from './broker.ts';
import { cards } from './cards.ts';
import { certificates } from './certificates.ts';
import { clocks } from './clocks.ts';
import { envelopes } from './envelopes.ts';
import { joins } from './joins.ts';
import { rogues } from './rogue.ts';

/** Every attack, in the order in which they are mounted. */
export const attacks: readonly Attack[] = [
  ...joins,
  ...rogues,
  ...brokers,
  ...envelopes,
  ...certificates,
  ...cards,
  ...clocks,
];

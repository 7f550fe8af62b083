// A program of its own, started for a second by speed.ts, so that the agent is neither held up nor left with its memory. Prints one line
// of JSON: how often it did each kind of work in a second of its own CPU time, which a busy board gives later but not otherwise.
import { Buffer } from 'node:buffer';
import { generateKeyPairSync, sign } from 'node:crypto';

/** Longer than a processor takes to leave its lowest clock. */
const measureMs = 300;

const steps = 1_000_000;
let state = 2_463_534_242;

/** A million steps of Marsaglia's xorshift (2003) with a multiplication: shifts, additions and products of 32-bit integers. */
function calculate(): void {
  let x = state;
  for (let i = 0; i < steps; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    x = (Math.imul(x, 1_664_525) + i) | 0;
  }
  state = x;
}

/** More than the caches of small boards hold. */
const copied = 16 * 1024 * 1024;
const source = Buffer.alloc(copied, 1);
const target = Buffer.alloc(copied);

function copy(): void {
  target.set(source);
}

const { privateKey } = generateKeyPairSync('ed25519');
const message = Buffer.alloc(64);

/** What a node does for each of its neighbours: arithmetic on long integers, in native code. */
function signOften(): void {
  for (let i = 0; i < 20; i++) sign(null, message, privateKey);
}

function roundsPerSecond(work: () => void): number {
  // compiled by then
  for (let i = 0; i < 3; i++) work();
  const begun = process.cpuUsage();
  for (let rounds = 1; ; rounds++) {
    work();
    const { user, system } = process.cpuUsage(begun);
    const seconds = (user + system) / 1_000_000;
    if (seconds * 1000 >= measureMs) return rounds / seconds;
  }
}

process.stdout.write(
  JSON.stringify({
    integer: (roundsPerSecond(calculate) * steps) / 1_000_000,
    memory: (roundsPerSecond(copy) * copied) / 1_000_000,
    crypto: roundsPerSecond(signOften) * 20,
  }),
);

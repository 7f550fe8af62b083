import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 interpret and never compile: what an agent at rest does is done too seldom for compiled code to pay, and the compilers
 * alone are 4.5 MB of its memory. To be called before anything else is loaded.
 */
export function interpretAlone(): void {
  setFlagsFromString('--no-sparkplug');
  setFlagsFromString('--no-turbofan');
}

/** So much work within so short a time is worth compiled code. */
const worth = { requests: 256, withinMs: 5_000, cpu: 0.05 };

/** What is left is moved together, and functions lose their bytecode that were not called since the collection before, not in the last five: most of it is of the start. */
const tidyFlags = ['--compact-on-every-full-gc', '--bytecode-old-age=1'];
const usualFlags = ['--no-compact-on-every-full-gc', '--bytecode-old-age=5'];

/**
 * Collects all garbage and moves what is left together, so that whole pages go back to the system; nothing without `--expose-gc`. It takes
 * a tenth of a second on a small board, and V8 would not do it by itself where hardly anything is allocated.
 */
function tidy(): void {
  if (globalThis.gc === undefined) return;
  for (const flag of tidyFlags) setFlagsFromString(flag);
  // the first ages what the second drops
  globalThis.gc();
  globalThis.gc();
  for (const flag of usualFlags) setFlagsFromString(flag);
}

/** Lets V8 compile what is hot, once there is work (it stays so), and has it tidy up when work, or the start, is over. */
export class Optimizer {
  readonly #now: () => number;
  #requests = 0;
  #since: number;
  #isOn = false;
  #cpu = process.cpuUsage();
  #cpuAt: number;
  #wasBusy = false;
  #isTidy = false;

  /** `now` in monotonic milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
    this.#since = now();
    this.#cpuAt = this.#since;
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  /** To be called for each request. */
  countRequest(): void {
    if (this.#isOn || ++this.#requests < worth.requests) return;
    const now = this.#now();
    if (now - this.#since <= worth.withinMs) this.#turnOn();
    this.#requests = 0;
    this.#since = now;
  }

  /** To be called now and then, for work that is no request: a process that has just started is busy once, one with work again. */
  look(): void {
    const now = this.#now();
    if (now - this.#cpuAt < worth.withinMs) return;
    const { user, system } = process.cpuUsage(this.#cpu);
    const isBusy = (user + system) / 1000 > worth.cpu * (now - this.#cpuAt);
    if (isBusy && this.#wasBusy && !this.#isOn) this.#turnOn();
    if (!isBusy && !this.#isTidy) tidy();
    this.#isTidy = !isBusy;
    this.#wasBusy = isBusy;
    this.#cpu = process.cpuUsage();
    this.#cpuAt = now;
  }

  #turnOn(): void {
    this.#isOn = true;
    setFlagsFromString('--turbofan');
  }
}

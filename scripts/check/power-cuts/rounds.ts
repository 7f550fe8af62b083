import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Random, seededRandom } from '../../../src/base/random.ts';
import { systemClock } from '../../../src/device/clock.ts';
import type { TaskSpec } from '../../../src/model/task.ts';
import { restarting, taskSpec } from '../../../test/fixtures/task-spec.ts';
import { readState, tearRuns, tearState } from './disk.ts';

/** What became of the rounds. */
export interface Outcome {
  readonly powerCuts: number;
  readonly kills: number;
  /** Starts that found their newest file damaged and went on with the one before. */
  readonly recovered: number;
}

interface Told {
  readonly generation: number;
  readonly recovered: boolean;
}

const program = fileURLToPath(new URL('./node.js', import.meta.url));
const never = new AbortController().signal;
/** No check is about this time: it only names what hangs, also where others take nearly all of the machine. */
const withinMs = 600_000;

/** Plays `rounds` of power cuts and kills with one node below `home`; throws what did not hold. */
export async function playRounds(
  home: string,
  rounds: number,
  seed: number,
  onRound = (_: number) => {},
): Promise<Outcome> {
  const random = seededRandom(seed);
  const node = new CutNode(home, random);
  const outcome = { powerCuts: 0, kills: 0, recovered: 0 };
  try {
    for (let round = 1; round <= rounds; round++) {
      const isPowerCut = random() < 0.7;
      try {
        if (await node.play(isPowerCut)) outcome.recovered++;
      } catch (cause) {
        throw new Error(`round ${round} of seed ${seed}: ${cause instanceof Error ? cause.message : cause}`, { cause });
      }
      outcome[isPowerCut ? 'powerCuts' : 'kills']++;
      onRound(round);
    }
    await node.settle();
    return outcome;
  } finally {
    node.end();
  }
}

/** A node that loses its power, or its agent, over and over. */
class CutNode {
  readonly #home: string;
  readonly #random: Random;
  readonly #journal: string;
  /** What was sent, by generation. */
  readonly #sent = new Map<number, readonly TaskSpec[]>([[0, []]]);
  #generation = 0;
  /** The newest that the node has said to hold. */
  #held = 0;
  #child: ChildProcess | undefined;
  #told: Told | undefined;
  #made = 0;

  constructor(home: string, random: Random) {
    this.#home = home;
    this.#random = random;
    this.#journal = `${home}.journal`;
    mkdirSync(join(home, 'tasks'), { recursive: true });
  }

  /** Starts it, looks whether all is as it should be, changes what it should be, and cuts; true when a damaged file was found. */
  async play(isPowerCut: boolean): Promise<boolean> {
    const before = readState(this.#home);
    this.#start();
    let recovered = false;
    // some cuts come before it is up
    if (this.#random() < 0.75) {
      recovered = await this.settle();
      this.#assign();
      if (this.#random() < 0.3) this.#assign();
      await systemClock.sleep(this.#random() * 120, never);
    } else {
      await systemClock.sleep(this.#random() * 600, never);
    }
    await this.#cut();
    if (!isPowerCut) return recovered;
    await this.#killTasks();
    await tearState(this.#home, before, readFileSync(this.#journal, 'utf8'), this.#random);
    tearRuns(this.#home, this.#random);
    return recovered;
  }

  /** Waits until each task that should run does; throws when the node does not come up, holds something else, or runs a task twice. */
  async settle(): Promise<boolean> {
    if (this.#child === undefined) this.#start();
    const child = this.#child;
    const end = systemClock.monotonic() + withinMs;
    for (;;) {
      if (child?.exitCode !== null) throw new Error(`the node ended with ${child?.exitCode}`);
      const told = this.#told;
      const wanted = new Set((told && this.#sent.get(told.generation))?.map(task => task.id) ?? []);
      const copies = this.#copies();
      const double = [...copies].find(([, pids]) => pids.length > 1);
      if (double !== undefined) throw new Error(`${double[0]} runs as ${double[1].join(' and ')}`);
      const isSettled = copies.size === wanted.size && [...wanted].every(id => copies.has(id));
      if (told !== undefined && isSettled) return told.recovered;
      if (systemClock.monotonic() > end) {
        if (told === undefined) throw new Error('the node does not come up');
        throw new Error(`expected ${[...wanted].join(', ')}, and there is ${[...copies.keys()].join(', ')}`);
      }
      await systemClock.sleep(15, never);
    }
  }

  end(): void {
    this.#child?.kill('SIGKILL');
    for (const pids of this.#processes().values()) for (const pid of pids) kill(pid);
  }

  #start(): void {
    writeFileSync(this.#journal, '');
    const child = spawn(process.execPath, [program, this.#home, this.#journal], { stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdin.on('error', () => {});
    this.#told = undefined;
    this.#child = child;
    createInterface({ input: child.stdout }).on('line', line => this.#hear(JSON.parse(line)));
  }

  /** What it has said to hold is what it holds after any cut. */
  #hear(told: Told): void {
    if (told.generation < this.#held) {
      process.stderr.write(`it held ${this.#held}, and now ${told.generation}\n`);
      this.#child?.kill('SIGKILL');
      return;
    }
    this.#told = told;
    this.#held = told.generation;
  }

  #assign(): void {
    const before = this.#sent.get(this.#generation) ?? [];
    const kept = before.filter(() => this.#random() < 0.7);
    const added = Array.from({ length: Math.floor(this.#random() * 3) }, () => this.#newTask());
    const put = [...kept, ...added].slice(0, 5);
    this.#generation++;
    this.#sent.set(this.#generation, put);
    const assignment = { epoch: 1, generation: this.#generation, full: true, base: 0, put, remove: [] };
    this.#child?.stdin?.write(`${JSON.stringify(assignment)}\n`);
  }

  #newTask(): TaskSpec {
    return taskSpec({
      id: `cut.default.${++this.#made}`,
      command: ['sleep', '1000000'],
      ...restarting('always', 1_000_000),
      killGraceMs: 1_000,
    });
  }

  async #cut(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) throw new Error('the node ended by itself');
    child.kill('SIGKILL');
    // what it said before is heard
    await once(child, 'close');
  }

  async #killTasks(): Promise<void> {
    for (let left = this.#processes(); left.size > 0; left = this.#processes()) {
      for (const pids of left.values()) for (const pid of pids) kill(pid);
      await systemClock.sleep(2, never);
    }
  }

  /** The processes of tasks that have become what they are to be, by task. */
  #copies(): ReadonlyMap<string, readonly number[]> {
    return this.#processes(pid => textOf(pid, 'cmdline').startsWith('sleep\0'));
  }

  /** All processes of this node's tasks, their shims among them; their environment tells them. */
  #processes(counts = (_: string) => true): ReadonlyMap<string, readonly number[]> {
    const found = new Map<string, number[]>();
    for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
      const environment = textOf(pid, 'environ').split('\0');
      if (!environment.includes(`HOME=${join(this.#home, 'tasks')}`) || !counts(pid)) continue;
      const task = environment.find(each => each.startsWith('TASK='))?.slice(5) ?? '';
      found.set(task, [...(found.get(task) ?? []), Number(pid)]);
    }
    return found;
  }
}

function textOf(pid: string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended
  }
}

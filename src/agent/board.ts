import { Cell } from '../base/cell.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import type { Files } from '../device/files.ts';
import type { CheckedInventory } from '../device/inventory.ts';
import { readMetered, readNetwork } from '../device/network.ts';
import { Optimizer } from '../device/optimizer.ts';
import { measureRates } from '../device/speed.ts';
import { hasOwnClock } from '../device/traps.ts';
import type { FirmwareProfile, Usage } from '../model/profile.ts';
import type { Spent } from '../model/spent.ts';
import { keepApplied, readApplied } from './applied-profiles.ts';
import type { NodeClock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import { type DataUse, defaultMeteredMbPerMonth, openDataUse } from './data-use.ts';
import { type DiskWatch, makeDiskWatch } from './disk-watch.ts';
import { makeWearWatch, type WearMeter } from './flash-wear.ts';
import { type NodeFacts, openNodeFacts } from './node-facts.ts';
import { type NodeSpeed, openNodeSpeed } from './node-speed.ts';

/** The board that this agent runs on: what it is and how it fares, and what is spent of its disk, its data and its clock's battery. */
export interface Board {
  readonly facts: NodeFacts;
  readonly speed: NodeSpeed;
  readonly data: DataUse;
  /** What operators have applied: another choice is made where one follows from it. */
  readonly appliedProfiles: Cell<readonly FirmwareProfile[]>;
  /** To be called for each request. */
  countRequest(): void;
  readUsage(): Promise<Usage>;
  spent(): Spent;
  warnings(): string[];
  readonly whenFull: DiskWatch['whenFull'];
  run(signal: AbortSignal): Promise<void>[];
}

/** Reads the board. */
export async function openBoard(
  parts: {
    readonly clock: NodeClock;
    readonly log: Log;
    readonly files: Files;
    readonly wear: WearMeter;
    readonly readBoard: () => Promise<CheckedInventory>;
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
    /** Tells the master of what has changed here, where there is a link. */
    readonly introduce: () => Promise<void>;
  },
  config: AgentConfig,
): Promise<Board> {
  const { clock, log, files, wear, readBoard, inBackground, introduce } = parts;
  const onChanged = () => inBackground('telling what is used up', introduce());
  const appliedProfiles = new Cell(await readApplied(files, log));
  const facts = await openNodeFacts({ clock, log, files, readBoard }, config, appliedProfiles.value);
  const speed = await openNodeSpeed({ files, log, measureRates: s => measureRates(clock, s) }, facts, config.speed);
  const data = await openDataUse(
    { clock, log, readMetered: () => readMetered(readNetwork()), onChanged },
    {
      isMetered: config.metered,
      normalMs: () => facts.profile.heartbeatMs,
      meteredMbPerMonth: () => config.dataBudgetMb ?? facts.profile.meteredMbPerMonth ?? defaultMeteredMbPerMonth,
    },
  );
  const room = makeDiskWatch({ clock, log, files, onChanged }, config);
  const wearing = makeWearWatch({ meter: wear, clock, log, onChanged }, () => facts.profile);
  const optimizer = new Optimizer(() => clock.monotonic());

  const profileGate = new Gate();
  let known = JSON.stringify(appliedProfiles.value);
  appliedProfiles.watch(applied => {
    // most pushes change nothing of it
    const text = JSON.stringify(applied);
    if (text !== known) inBackground('choosing a profile', profileGate.run(onProfiles));
    known = text;
  });

  /** What a profile keeps for the system, its paces and its limits hold at once; the proxy's bounds, and how often the disk is looked at, from the next start on. */
  async function onProfiles(): Promise<void> {
    await keepApplied(files, appliedProfiles.value);
    if (!(await facts.rematch(appliedProfiles.value))) return;
    data.adapt();
    await introduce();
  }

  return {
    facts,
    speed,
    data,
    appliedProfiles,
    countRequest: () => optimizer.countRequest(),
    readUsage: () => {
      optimizer.look();
      return facts.readUsage();
    },
    whenFull: room.whenFull,
    spent: () => ({ disk: wearing.spent(), link: data.spent() }),
    warnings: () => [...room.warnings(), ...wearing.warnings(), ...data.warnings()],
    run: signal => [
      room.run(signal),
      wearing.run(signal),
      data.run(signal),
      clock.run(hasOwnClock(facts.profile), signal),
    ],
  };
}

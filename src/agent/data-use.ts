import { ByteMeter } from '../base/byte-meter.ts';
import { Cell } from '../base/cell.ts';
import { type Clock, dayMs, hourMs, minuteMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { type Cadence, cadenceOf } from '../lifecycle/cadence.ts';
import type { Dial } from '../link/dial.ts';
import { type CountedPacket, wireBytes } from '../link/packets.ts';
import { isOverData, mostOf, printMegabytes, type Spent, sumOf } from '../model/spent.ts';
import { parseTopic, type UpKind } from '../model/topics.ts';
import type { OpenSource } from './artifact-cache.ts';

/** What an agent and its master speak about; `link` is what it takes that they can. Calls in the mesh are the tasks' own. */
export type DataPurpose =
  | 'telemetry'
  | 'tasks'
  | 'policies'
  | 'audit'
  | 'output'
  | 'certificates'
  | 'artifacts'
  | 'link';

const ofUp: Readonly<Record<UpKind, DataPurpose>> = {
  birth: 'telemetry',
  hb: 'telemetry',
  shadow: 'telemetry',
  death: 'telemetry',
  task: 'tasks',
  ack: 'policies',
  audit: 'audit',
  csr: 'certificates',
  log: 'output',
};

/** An acknowledgement of the master may be of several things. */
function purposeOf(name: string | undefined): DataPurpose {
  const topic = name === undefined ? undefined : parseTopic(name);
  if (topic === undefined) return 'link';
  if (topic.kind === 'up') return ofUp[topic.what];
  if (topic.kind === 'down') return topic.what === 'task' ? 'tasks' : 'telemetry';
  return 'policies';
}

/** A handshake of TLS 1.3 in which both show a chain of two certificates of P-256, with what TCP adds: 5.6 KB were measured. */
const handshakeBytes = 5_600;

/** Where nobody says otherwise, so much a month is spent on a metered link. */
export const defaultMeteredMbPerMonth = 50;
const daysPerMonth = 30;

const everyMs = 10 * minuteMs;

/** Counts what the link to the master takes, and keeps to a budget where it is paid for by the byte. */
export interface DataUse {
  count(packet: CountedPacket): void;
  /** The same, with what they answer counted. */
  counting(open: OpenSource): OpenSource;
  /** Since the start of the agent. */
  readonly totals: ReadonlyMap<DataPurpose, number>;
  readonly isMetered: boolean;
  /** How often the node speaks. */
  readonly cadence: Cell<Cadence>;
  spent(): NonNullable<Spent['link']>;
  warnings(): string[];
  /** What it goes by may have changed. */
  adapt(): void;
  /** The same, with handshakes counted, and after a look whether the way is a metered one now. */
  dialling(dial: Dial): Dial;
  /** Looks every ten minutes until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

/** `isMetered` is an operator's word; absent: `readMetered` finds out. */
export async function openDataUse(
  parts: {
    readonly clock: Clock;
    readonly log: Log;
    readonly readMetered: () => Promise<boolean>;
    /** The master is to hear of it. */
    readonly onChanged: () => void;
  },
  settings: {
    readonly isMetered: boolean | undefined;
    readonly normalMs: () => number;
    readonly meteredMbPerMonth: () => number;
  },
): Promise<DataUse> {
  const { clock, log, readMetered, onChanged } = parts;
  const meter = new ByteMeter<DataPurpose>();
  const count = (purpose: DataPurpose, bytes: number) => meter.add(purpose, bytes, clock.monotonic());
  let isMetered = settings.isMetered ?? (await readMetered());
  let isOver = false;
  const cadence = new Cell<Cadence>({ heartbeatMs: settings.normalMs(), holdMs: 0 });

  function spent(): NonNullable<Spent['link']> {
    const byPurpose = meter.over(hourMs, clock.monotonic());
    const dayBytes = sumOf(meter.over(dayMs, clock.monotonic()));
    const budgetBytes = Math.round((settings.meteredMbPerMonth() * 1e6) / daysPerMonth);
    return { byPurpose, dayBytes, metered: isMetered, ...(isMetered && { budgetBytes }) };
  }

  function adapt(): void {
    const { byPurpose, dayBytes, budgetBytes } = spent();
    const normalMs = settings.normalMs();
    const otherPerHour = sumOf(byPurpose) - (byPurpose.telemetry ?? 0);
    const next =
      budgetBytes === undefined
        ? { heartbeatMs: normalMs, holdMs: 0 }
        : cadenceOf(normalMs, budgetBytes, { dayBytes, otherPerHour });
    const { heartbeatMs, holdMs } = cadence.value;
    if (next.heartbeatMs === heartbeatMs && next.holdMs === holdMs) return;
    log.info('the node speaks to the master at another pace', { ...next, metered: isMetered });
    cadence.set(next);
  }

  function look(): void {
    const now = spent();
    adapt();
    if (isOverData(now) === isOver) return;
    isOver = !isOver;
    if (isOver) log.warn('the link to the master takes more data than it should', { why: sentence(now) });
    onChanged();
  }

  adapt();
  return {
    count: ({ topic, bytes }) => count(purposeOf(topic), bytes),
    counting: open => async (source, begun, attempt, signal) => {
      const opened = await open(source, begun, attempt, signal);
      count('artifacts', handshakeBytes);
      const { answer } = opened;
      async function* body() {
        for await (const piece of answer.body()) {
          count('artifacts', wireBytes(piece.length));
          yield piece;
        }
      }
      return { ...opened, answer: { ...answer, body } };
    },
    totals: meter.totals,
    get isMetered() {
      return isMetered;
    },
    cadence,
    adapt,
    spent,
    warnings: () => (isOver ? [sentence(spent())] : []),
    dialling: dial => async signal => {
      isMetered = settings.isMetered ?? (await readMetered());
      look();
      const stream = await dial(signal);
      count('link', handshakeBytes);
      return stream;
    },
    async run(signal) {
      while (await clock.sleep(everyMs, signal, 'loop')) look();
    },
  };
}

function sentence({ byPurpose, dayBytes, budgetBytes = 0 }: NonNullable<Spent['link']>): string {
  const [most = 'link'] = mostOf(byPurpose);
  const took = `${printMegabytes(dayBytes)} went over a metered link in 24 hours, in the last one mostly ${most}`;
  return `${took}; ${printMegabytes(budgetBytes)} a day are meant: ${advice[most] ?? 'raise --data-budget'}`;
}

const advice: Readonly<Record<string, string>> = {
  audit: 'lower --audit-allowed, or raise --data-budget',
  artifacts: 'push them when the node is at home, or raise --data-budget',
  output: 'follow less of what tasks say, or raise --data-budget',
  policies: 'change policies together, or raise --data-budget',
  tasks: 'a task changes its state again and again: see `mesolite get tasks`',
  link: 'the connection is lost again and again, or nothing else was said: raise --data-budget',
};

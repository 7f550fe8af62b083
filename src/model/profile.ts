import * as v from 'valibot';
import { keepKnown } from '../base/known-fields.ts';
import { customResourcesSchema } from './resources.ts';
import { defaultRuntime, runtimeSchema } from './runtime.ts';

const whole = (min: number, max: number) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));
const text = v.pipe(v.string(), v.maxLength(512));

/** How often a node says how it fares. */
export const heartbeatMsSchema = whole(1_000, 3_600_000);

const matchSchema = v.strictObject({
  /** Regular expressions; all that are given must hold. */
  deviceTreeModel: v.optional(text),
  dmiProduct: v.optional(text),
  cpuModel: v.optional(text),
  arch: v.optional(v.picklist(['x64', 'arm64', 'arm'])),
  minMemoryMb: v.optional(whole(0, 1_048_576)),
  maxMemoryMb: v.optional(whole(0, 1_048_576)),
  virtual: v.optional(v.boolean()),
});

/** What can be seen of a board. */
export const trapSigns = ['memory-controller-off', 'no-clock', 'pages-of-16-kib'] as const;
export type TrapSign = (typeof trapSigns)[number];

const trapSchema = v.strictObject({
  trap: text,
  fix: text,
  /** It is told only where this is seen; everywhere when absent or `no-clock`. */
  when: v.optional(v.picklist(trapSigns)),
});

/** In °C, in the order of their size. */
export const thermalSchema = v.strictObject({
  /** From here on a node has little left to give: calls go to others where they can. */
  throttleC: whole(30, 150),
  /** From here on it is given no more tasks. */
  drainC: whole(30, 150),
  /** Below this it is as before. */
  resumeC: whole(20, 150),
});

export type Thermal = v.InferOutput<typeof thermalSchema>;

const defaultBuffersMb = 16;

/** A board: how it is recognised and how the agent behaves on it; one JSON file in `firmware-profiles/`. */
export const profileSchema = v.strictObject({
  $schema: v.optional(text),
  name: v.pipe(v.string(), v.regex(/^[a-z0-9-]{1,63}$/)),
  title: text,
  /** The profile with the highest number among those that match is taken. */
  precedence: whole(0, 1000),
  match: v.pipe(v.array(matchSchema), v.minLength(1), v.maxLength(16)),
  /** Kept for the system and the agent, never offered. */
  reserve: v.strictObject({
    cpus: v.pipe(v.number(), v.minValue(0), v.maxValue(64)),
    memMb: whole(0, 1_048_576),
    diskMb: whole(0, 1_073_741_824),
  }),
  /** What boards of this kind have beside cores, memory and disk. */
  resources: v.optional(customResourcesSchema),
  heartbeatMs: heartbeatMsSchema,
  diskSampleMs: whole(10_000, 86_400_000),
  proxy: v.strictObject({
    maxConnections: whole(16, 100_000),
    maxUpstreamConnections: whole(16, 100_000),
    decisionCacheEntries: whole(64, 1_000_000),
    /** MB that all connections together may hold for slow readers, and buffers to spare. */
    buffersMb: v.optional(whole(1, 1024), defaultBuffersMb),
  }),
  /** How the agent's process is started. */
  runtime: v.optional(runtimeSchema, defaultRuntime),
  thermal: v.optional(thermalSchema),
  /** What it may cost the medium of the data directory that the agent writes. */
  flashWear: v.optional(
    v.strictObject({
      medium: text,
      bytesPerDay: whole(1, 1_000_000_000_000),
      /** GB (of 10^9 bytes) that can be written to it, in small pieces, before it is worn out. */
      enduranceGb: whole(1, 1_000_000),
      /** Where these figures are from. */
      source: text,
    }),
  ),
  /** MB (of 10^6 bytes) that agent and master may exchange in a month where that is paid for by the byte. */
  meteredMbPerMonth: v.optional(whole(1, 1_000_000)),
  traps: v.optional(v.array(trapSchema), []),
});

/** The same as operators apply it to a fleet, where the document has the name. */
const { $schema: _, name: __, ...specEntries } = profileSchema.entries;
export const profileSpecSchema = v.strictObject(specEntries);

/** Each match is looked at as a whole. */
const keptSchema = v.object({ ...profileSchema.entries, match: v.unknown() });
const listsSchema = v.looseObject({ match: v.array(v.unknown()), traps: v.optional(v.array(v.unknown()), []) });
/** There is none that has so much and so little. */
const noBoard: ProfileMatch = { minMemoryMb: 1, maxMemoryMb: 0 };

/**
 * The part of a profile that this version can use, where a newer one may have written it: fields and traps that are not known are left out. A match
 * that asks for what is not known here matches nothing: without that it would match more boards than was meant. An expression may be one only to the
 * Node of who wrote it.
 */
export function knownProfile(profile: unknown): unknown {
  const known = v.safeParse(listsSchema, keepKnown(keptSchema, profile));
  if (!known.success) return profile;
  const { match, traps } = known.output;
  return {
    ...known.output,
    match: match.map(entry => (v.is(matchSchema, entry) && patternProblem(entry) === undefined ? entry : noBoard)),
    traps: traps.filter(trap => v.is(trapSchema, trap)),
  };
}

export type Trap = v.InferOutput<typeof trapSchema>;
export type FirmwareProfile = v.InferOutput<typeof profileSchema>;
export type ProfileMatch = v.InferOutput<typeof matchSchema>;

export const matchPatterns = ['deviceTreeModel', 'dmiProduct', 'cpuModel'] as const;

/** What the shape of a profile does not say, with its place; undefined when it is sound. */
export function profileProblem({ match, thermal }: Pick<FirmwareProfile, 'match' | 'thermal'>): string | undefined {
  for (const [index, entry] of match.entries()) {
    const problem = patternProblem(entry);
    if (problem !== undefined) return `match[${index}].${problem}`;
  }
  if (thermal === undefined || (thermal.resumeC < thermal.throttleC && thermal.throttleC <= thermal.drainC))
    return undefined;
  return 'thermal: expected resumeC below throttleC, and drainC not below that';
}

function patternProblem(entry: ProfileMatch): string | undefined {
  for (const field of matchPatterns) {
    const pattern = entry[field] ?? '';
    try {
      new RegExp(pattern);
    } catch {
      return `${field}: not a regular expression: ${pattern}`;
    }
    if (/\)[+*{]/.test(pattern.replace(/\\.|\[(\\.|[^\]\\])*\]/g, '')))
      return `${field}: a group that repeats may keep a board busy for ever: ${pattern}`;
  }
  return undefined;
}

/** A way out of this machine. */
export interface NetworkLink {
  readonly name: string;
  readonly kind: 'ethernet' | 'wifi' | 'mobile';
  /** Is it the way to everywhere? */
  readonly isDefault?: boolean | undefined;
}

/** The facts of a board that profiles look at. */
export interface Inventory {
  readonly arch: string;
  readonly cpuModel: string;
  readonly cpuCount: number;
  readonly memoryMb: number;
  readonly deviceTreeModel: string;
  readonly dmiProduct: string;
  readonly virtual: boolean;
  readonly os: string;
  readonly kernel: string;
  /** As they are when it is asked. */
  readonly network?: readonly NetworkLink[] | undefined;
}

export const inventorySchema = v.object({
  arch: text,
  cpuModel: text,
  cpuCount: whole(1, 4096),
  memoryMb: whole(1, 1_073_741_824),
  deviceTreeModel: text,
  dmiProduct: text,
  virtual: v.boolean(),
  os: text,
  kernel: text,
  network: v.optional(
    v.pipe(
      v.array(
        v.object({
          name: text,
          kind: v.picklist(['ethernet', 'wifi', 'mobile']),
          isDefault: v.optional(v.boolean()),
        }),
      ),
      v.maxLength(16),
    ),
  ),
}) satisfies v.GenericSchema<unknown, Inventory>;

/** What a node uses at a moment. */
export const usageSchema = v.object({
  /** Busy share of all cores, 0 to 1. */
  cpu: v.number(),
  memUsedMb: v.number(),
  diskUsedMb: v.number(),
  /** Resident memory of the agent process. */
  agentRssMb: v.number(),
  load1: v.number(),
  temperatureC: v.optional(v.number()),
  /** 1 while the processor is kept slow by heat or lack of power, otherwise 0; absent where nobody tells. */
  throttled: v.optional(v.number()),
});

export type Usage = v.InferOutput<typeof usageSchema>;

import * as v from 'valibot';

const whole = (min: number, max: number) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));

/** What Node and the C library are told before an agent starts: what its memory at rest, and at most, is made of. */
export const runtimeSchema = v.strictObject({
  /** MB of V8's young generation. */
  youngMb: whole(1, 64),
  /** MB of V8's heap at most: an agent that wants more ends, and starts anew. */
  heapMb: whole(64, 65_536),
  /** Threads of V8's own. */
  v8Threads: whole(0, 16),
  /** Heaps of malloc that threads share. */
  mallocArenas: whole(1, 64),
  /** kB from which on a piece of memory is the system's again when it is freed. */
  mallocMmapKb: whole(4, 32_768),
  /** kB that malloc keeps when others are freed. */
  mallocTrimKb: whole(0, 1_048_576),
});

export type Runtime = v.InferOutput<typeof runtimeSchema>;

/** Where a profile says nothing. */
export const defaultRuntime: Runtime = {
  youngMb: 1,
  heapMb: 256,
  v8Threads: 0,
  mallocArenas: 1,
  mallocMmapKb: 128,
  mallocTrimKb: 64,
};

/** For Node; garbage is collected when the agent says so. */
export function nodeFlagsOf({ youngMb, heapMb, v8Threads }: Runtime): string[] {
  return [
    `--max-semi-space-size=${youngMb}`,
    `--max-old-space-size=${heapMb}`,
    `--v8-pool-size=${v8Threads}`,
    '--expose-gc',
  ];
}

/** For glibc, mallopt(3). */
export function mallocOf({ mallocArenas, mallocMmapKb, mallocTrimKb }: Runtime): Record<string, string> {
  return {
    MALLOC_ARENA_MAX: `${mallocArenas}`,
    MALLOC_MMAP_THRESHOLD_: `${1024 * mallocMmapKb}`,
    MALLOC_TRIM_THRESHOLD_: `${1024 * mallocTrimKb}`,
  };
}

/** In the environment of an agent that its service has started by the profile: the flags that Node has got. */
export const flagsVariable = 'MESOLITE_NODE_FLAGS';

/** As a shell reads it. */
export function printRuntime(runtime: Runtime): string {
  const lines = Object.entries({ [flagsVariable]: nodeFlagsOf(runtime).join(' '), ...mallocOf(runtime) });
  return lines.map(([name, value]) => `${name}="${value}"\n`).join('');
}

const flagForm = /^--(?:(?:max-semi-space-size|max-old-space-size|v8-pool-size)=\d{1,5}|expose-gc)$/;
const numberForm = /^\d{1,10}$/;

/** What was printed, out of whatever stands around it: a task may have written that, and a flag of Node can run a program. */
export function parseRuntime(text: string): {
  readonly nodeFlags: readonly string[];
  readonly env: Record<string, string>;
} {
  const lines = new Map([...text.matchAll(/^([A-Z_]+)="([^"\n]*)"$/gm)].map(([, name, value = '']) => [name, value]));
  const nodeFlags = (lines.get(flagsVariable) ?? '').split(' ').filter(flag => flagForm.test(flag));
  const malloc = Object.keys(mallocOf(defaultRuntime)).flatMap(name => {
    const value = lines.get(name) ?? '';
    return numberForm.test(value) ? [[name, value]] : [];
  });
  return { nodeFlags, env: { [flagsVariable]: nodeFlags.join(' '), ...Object.fromEntries(malloc) } };
}

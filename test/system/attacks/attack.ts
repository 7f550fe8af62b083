import type { Arena } from './arena.ts';

/** One try of an attack. */
export interface Attempt {
  readonly what: string;
  readonly refused: boolean;
}

/** What came of an attack: each try, and in a few words what stopped it. */
export interface Outcome {
  readonly attempts: readonly Attempt[];
  readonly how: string;
}

/** An attack that is mounted over sockets on a fleet that works. */
export interface Attack {
  readonly name: string;
  /** Why it cannot be mounted on this machine; undefined where it can. */
  skip?(): string | undefined;
  /** Throws when the honest thing beside it, which shows that the attack is a real one, does not work. */
  mount(arena: Arena): Promise<Outcome>;
}

/** The same attack by a WebSocket on the port of the API. */
export function overWebSocket({ name, mount, ...attack }: Attack): Attack {
  return { ...attack, name: `${name}, over WebSocket`, mount: arena => arena.byWebSocket(() => mount(arena)) };
}

/** Throws unless `holds`: what an attack presumes, and what an honest one may do. */
export function presume(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}

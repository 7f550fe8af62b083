/** What `bench:proxy` measures, of whom, and what is aimed for. */
import type { LoadOptions } from './load.ts';

/** What of a measurement is compared; less is better in all. */
export type Figure = 'cpuUs' | 'p99Us';

/** Ours may be at most so many times the peer's. */
export interface Goal {
  readonly own: string;
  readonly peer: string;
  readonly most: number;
  readonly figure?: Figure;
}

export interface Case {
  /** What `--only` calls it. */
  readonly key: string;
  readonly name: string;
  /** Through one side, from mutual TLS to plain HTTP; or from plain HTTP through both sides of the same proxy. */
  readonly way: 'inbound' | 'chain';
  readonly proxies: readonly string[];
  readonly load: Pick<LoadOptions, 'connections' | 'mode'> & Partial<LoadOptions>;
  /** Bytes of the answer. */
  readonly answerBytes?: number;
  readonly goals: readonly Goal[];
}

const ours = 'mesolite';
const classic = ['nginx', 'haproxy'];
const inbound = [ours, ...classic];
const loop = { mode: 'loop', connections: 32 } as const;
const shake = { mode: 'connect', connections: 8 } as const;

export const cases: readonly Case[] = [
  {
    key: 'inbound',
    name: 'inbound, 100 B',
    way: 'inbound',
    proxies: [...inbound, 'caddy', 'undici', 'http-proxy'],
    load: loop,
    goals: [
      { own: ours, peer: 'haproxy', most: 1.2 },
      { own: ours, peer: 'http-proxy', most: 0.25 },
    ],
  },
  {
    key: 'chain',
    name: 'chain, 100 B',
    way: 'chain',
    proxies: [ours, 'mesolite-http1', ...classic, 'haproxy-h2'],
    load: loop,
    goals: [
      { own: 'mesolite-http1', peer: 'haproxy', most: 1.35 },
      { own: ours, peer: 'haproxy', most: 0.7 },
      { own: ours, peer: 'haproxy-h2', most: 1.1 },
    ],
  },
  {
    key: 'answer',
    name: 'inbound, answer of 64 KiB',
    way: 'inbound',
    proxies: inbound,
    load: loop,
    answerBytes: 65_536,
    goals: [{ own: ours, peer: 'haproxy', most: 1.25 }],
  },
  {
    key: 'post',
    name: 'inbound, POST of 64 KiB',
    way: 'inbound',
    proxies: inbound,
    load: { ...loop, bodyBytes: 65_536 },
    goals: [{ own: ours, peer: 'haproxy', most: 1.5 }],
  },
  {
    key: 'full',
    name: 'full handshake and a request',
    way: 'inbound',
    proxies: inbound,
    load: shake,
    goals: [{ own: ours, peer: 'nginx', most: 1.5 }],
  },
  {
    key: 'resumed',
    name: 'resumed handshake and a request',
    way: 'inbound',
    proxies: inbound,
    load: { ...shake, resume: true },
    goals: [{ own: ours, peer: 'nginx', most: 1.5 }],
  },
  {
    key: 'rate',
    name: 'inbound at 2000/s',
    way: 'inbound',
    proxies: inbound,
    load: { mode: 'loop', connections: 16, rate: 2000 },
    goals: [{ own: ours, peer: 'haproxy', most: 1, figure: 'p99Us' }],
  },
];

/** Nearly every connection must be resumed where all show a ticket; the first few have none. */
export const leastResumed = 0.95;
/** Resident memory with so many idle connections of mutual TLS. */
export const idleConnections = 1000;
export const mostIdleMb = 100;

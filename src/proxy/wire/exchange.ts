import type { Buffer } from 'node:buffer';
import type { TryPolicy } from '../../traffic/route-action.ts';
import type { LocalAnswer, ResponseFlag, ResponseNote } from '../respond.ts';
import type { Pool } from '../upstream/pool.ts';
import type { ByteStream } from './byte-stream.ts';
import type { Head } from './head.ts';

/** Where requests of one kind go: the application of a workload, or the endpoints of a service. */
export interface Target {
  /** How many hosts may be tried while nothing has been sent to any. */
  readonly maxAttempts: number;
  /** The pool of the host to take `exchange` to, none of those that were `tried`; undefined when no other is healthy. */
  choose(exchange: Exchange, tried: readonly Pool[]): Pool | undefined;
  /** Takes a place among the retries that may be under way, to be given back with `endRetry`; false when there is none. */
  beginRetry(): boolean;
  endRetry(): void;
}

/** A copy of the request for somebody whose answer nobody waits for; `additions` stand in for those of the exchange. */
export interface MirrorStart {
  readonly target: Target;
  /** Whose request it is. */
  readonly task: string;
  readonly additions: string;
}

const none: readonly never[] = [];

/** One request and what became of it. The object is used for request after request: nothing may keep it. */
export class Exchange {
  // what the pipeline decides
  target: Target | undefined;
  /** Instead of the request line that came, without CR LF; empty to keep it. */
  startLine = '';
  /** Header lines for the upstream side, each ending in CR LF. */
  additions = '';
  /** Header lines for the client's side, each ending in CR LF. */
  responseAdditions = '';
  /** Header line, ending in CR LF, of an answer that no connection to the application could be had; empty where nobody wants to know. */
  refusalLine = '';
  /** Lower-case names, as bytes, of headers that the response loses. */
  responseDrops: readonly Uint8Array[] = none;
  /** What the route says of time and retries; undefined: nothing. */
  tries: TryPolicy | undefined;
  /** Milliseconds to wait before anything else; 0 for no wait. */
  delayMs = 0;
  /** The answer to give after the wait, instead of going on. */
  abort: LocalAnswer | undefined;
  mirrors: readonly MirrorStart[] = none;
  /** 32 bits that decide the host under consistent hashing; -1 when nothing does. */
  hash = -1;
  // what the wire observes
  status = 0;
  flag: ResponseFlag = '-';
  /** What else is to be seen beside the flag; empty for nothing. */
  note: ResponseNote = '';
  /** Who asks, the same for all requests of a connection; empty where that does not matter. */
  source = '';
  bytesReceived = 0;
  bytesSent = 0;
  /** Monotonic milliseconds. */
  startedAt: number;

  constructor(startedAt = 0) {
    this.startedAt = startedAt;
  }

  reset(startedAt: number): void {
    this.target = undefined;
    this.startLine = this.additions = this.responseAdditions = this.refusalLine = '';
    this.responseDrops = this.mirrors = none;
    this.tries = this.abort = undefined;
    this.delayMs = 0;
    this.hash = -1;
    this.status = this.bytesReceived = this.bytesSent = 0;
    this.flag = '-';
    this.note = '';
    this.startedAt = startedAt;
  }
}

/** Takes a client's connection, which comes paused, with what was read of it behind the request; answers what was asked for. */
export type Takeover = (stream: ByteStream, early: Buffer | undefined) => void;

/** What is left to do about a request once what it waited for is there; the head has been parsed again, and is the same. */
export type Resume = (head: Head, bytes: Buffer) => Admission;
/** An answer to give at once, or undefined after `exchange.target` has been set; a promise that never rejects where that takes a while. */
export type Admission = LocalAnswer | undefined | Promise<Resume>;

/** The steps between a request that was read and where it goes; there is one for each client connection. */
export interface Pipeline {
  /** Who asks, where nobody may have an application for himself. */
  readonly source?: string;
  /** Decides about a request. */
  admit(exchange: Exchange, head: Head, bytes: Buffer): Admission;
  /** Decides about a CONNECT: an answer that refuses it, or who takes the connection. Absent where there is no CONNECT. */
  connect?(exchange: Exchange, head: Head, bytes: Buffer): LocalAnswer | Takeover;
  /** The request is over, whatever became of it. */
  account(exchange: Exchange): void;
  /** Bytes that were no request were answered, so there is nothing to account for but the fact. */
  refused(answer: LocalAnswer): void;
}

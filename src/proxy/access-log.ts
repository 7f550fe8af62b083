import type { Clock } from '../base/clock.ts';
import type { AccessRecord } from '../model/access.ts';
import { ruleText, type Shadow } from '../model/policy.ts';
import type { Counters, Series } from './counters.ts';
import type { LocalAnswer } from './respond.ts';
import type { Exchange } from './wire/exchange.ts';

/** What a pipeline knows of the request at hand, beside what the wire observes of it. */
export interface RequestFacts {
  readonly direction: 'inbound' | 'outbound';
  readonly sourceIp: string;
  source: string;
  destination: string;
  task: string;
  method: string;
  host: string;
  /** Without query. */
  path: string;
  allow: boolean;
  rule: string;
  shadow: Shadow | undefined;
  requestId: string;
  series: Series | undefined;
}

export function newFacts(direction: 'inbound' | 'outbound', sourceIp: string): RequestFacts {
  return {
    direction,
    sourceIp,
    source: '-',
    destination: '-',
    task: '-',
    method: '-',
    host: '-',
    path: '-',
    allow: false,
    rule: '-',
    shadow: undefined,
    requestId: '-',
    series: undefined,
  };
}

export interface AccessLogParts {
  readonly clock: Clock;
  readonly counters: Counters;
  /** Hears of every request once, when it is over; must be quick and must not throw. */
  readonly onAccess: (record: AccessRecord) => void;
}

// the bounds of model/access.ts
const maxMethod = 64;
const maxHost = 255;
const maxPath = 2048;
const maxRequestId = 64;

/** Turns requests that are over into access records and counts. */
export class AccessLog {
  readonly #parts: AccessLogParts;

  constructor(parts: AccessLogParts) {
    this.#parts = parts;
  }

  record(exchange: Exchange, facts: RequestFacts): void {
    const durationMs = this.#parts.clock.monotonic() - exchange.startedAt;
    facts.series?.count(exchange.status, durationMs, exchange.bytesReceived, exchange.bytesSent);
    const record: AccessRecord = {
      at: this.#parts.clock.now(),
      direction: facts.direction,
      source: facts.source,
      destination: facts.destination,
      sourceIp: facts.sourceIp,
      task: facts.task,
      method: bounded(facts.method, maxMethod),
      host: bounded(facts.host, maxHost),
      path: bounded(facts.path, maxPath),
      verdict: facts.allow ? 'allow' : 'deny',
      rule: facts.rule,
      status: exchange.status,
      bytesReceived: exchange.bytesReceived,
      bytesSent: exchange.bytesSent,
      durationMs: Math.round(durationMs * 1000) / 1000,
      requestId: bounded(facts.requestId, maxRequestId),
      flags: flagsOf(exchange),
    };
    if (facts.shadow !== undefined) addShadow(record, facts.shadow);
    this.#parts.onAccess(record);
  }

  /** Bytes that were no request, from a connection of which `facts` tell. */
  recordRefused(answer: LocalAnswer, facts: RequestFacts): void {
    this.#parts.counters.refusedRequests++;
    this.#parts.onAccess({
      at: this.#parts.clock.now(),
      direction: facts.direction,
      source: facts.source,
      destination: facts.destination,
      sourceIp: facts.sourceIp,
      task: facts.task,
      method: '-',
      host: '-',
      path: '-',
      verdict: 'deny',
      rule: 'not-understood',
      status: answer.status,
      bytesReceived: 0,
      bytesSent: answer.bodyBytes,
      durationMs: 0,
      requestId: '-',
      flags: answer.flag,
    });
  }
}

function addShadow(record: AccessRecord, { audited, verdict }: Shadow): void {
  if (audited !== undefined) record.audited = audited;
  if (verdict !== undefined) record.shadow = { verdict: verdict.allow ? 'allow' : 'deny', rule: ruleText(verdict) };
}

function flagsOf({ flag, note }: Exchange): string {
  if (note === '' || note === flag) return flag;
  return flag === '-' ? note : `${flag},${note}`;
}

function bounded(text: string, max: number): string {
  return text.length <= max ? text : text.slice(0, max);
}

/** Latencies are counted in buckets whose upper bounds double from 0.5 ms; the last one takes all above. */
export const latencyBoundsMs: readonly number[] = Array.from({ length: 18 }, (_, i) => 0.5 * 2 ** i);

/** Statuses that a series counts by themselves; later ones are counted as the first of their class, as 599 under 500. */
const maxStatuses = 16;

/** Requests of one series that ended with one status. */
export class StatusCount {
  requests = 0;
  /** By bucket, one more than `latencyBoundsMs`; not cumulative. */
  readonly latency = new Float64Array(latencyBoundsMs.length + 1);
  latencySumMs = 0;

  add(durationMs: number): void {
    this.requests++;
    let bucket = 0;
    for (let bound = 0.5; durationMs > bound && bucket < latencyBoundsMs.length; bound *= 2) bucket++;
    this.latency[bucket] = (this.latency[bucket] ?? 0) + 1;
    this.latencySumMs += durationMs;
  }
}

/** What was counted of the requests from one source to one service. */
export class Series {
  /** By status; 0 for those that got no answer. */
  readonly byStatus = new Map<number, StatusCount>();
  bytesReceived = 0;
  bytesSent = 0;
  #lastStatus = -1;
  #last = new StatusCount();

  count(status: number, durationMs: number, bytesReceived: number, bytesSent: number): void {
    if (status !== this.#lastStatus) {
      this.#last = this.#of(status);
      this.#lastStatus = status;
    }
    this.#last.add(durationMs);
    this.bytesReceived += bytesReceived;
    this.bytesSent += bytesSent;
  }

  #of(status: number): StatusCount {
    const known = this.byStatus.get(status);
    if (known !== undefined) return known;
    const ofClass = Math.floor(status / 100) * 100;
    if (this.byStatus.size >= maxStatuses && status !== ofClass) return this.#of(ofClass);
    const made = new StatusCount();
    this.byStatus.set(status, made);
    return made;
  }
}

/** A copy of one series as plain data. */
export interface SeriesSnapshot {
  readonly direction: 'inbound' | 'outbound';
  readonly service: string;
  readonly source: string;
  readonly byStatus: readonly StatusSnapshot[];
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

export interface StatusSnapshot {
  /** 0: no answer. */
  readonly status: number;
  readonly requests: number;
  /** One more than `latencyBoundsMs`, not cumulative. */
  readonly latency: readonly number[];
  readonly latencySumMs: number;
}

interface Entry {
  readonly direction: 'inbound' | 'outbound';
  readonly service: string;
  readonly source: string;
  readonly series: Series;
}

/** At most this many series; later pairs are counted together under the names `other`. */
export const maxSeries = 1024;

/** What one RateLimit refused since the start, or would have refused where it is a shadow. */
export interface LimitSnapshot {
  /** `<namespace>/<name>` */
  readonly name: string;
  readonly enforced: boolean;
  readonly requests: number;
}

/** Requests per (service, source, status), counted since the start. */
export class Counters {
  readonly #entries = new Map<string, Entry>();
  readonly #limits = new Map<string, number>();
  readonly #shadows = new Map<string, number>();
  /** TLS handshakes with clients that failed, and bytes on either port that were no request. */
  failedHandshakes = 0;
  refusedRequests = 0;

  /** The series of one pair; look it up once for a connection, not for a request. */
  series(direction: 'inbound' | 'outbound', service: string, source: string): Series {
    const key = `${direction} ${service} ${source}`;
    const known = this.#entries.get(key);
    if (known !== undefined) return known.series;
    if (this.#entries.size >= maxSeries && service !== 'other') return this.series(direction, 'other', 'other');
    const entry = { direction, service, source, series: new Series() };
    this.#entries.set(key, entry);
    return entry.series;
  }

  /** One request over a limit. At most `maxSeries` limits are told apart. */
  countLimited(name: string, enforced: boolean): void {
    const counts = enforced ? this.#limits : this.#shadows;
    const key = counts.size < maxSeries || counts.has(name) ? name : 'other';
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }

  limitSnapshot(): readonly LimitSnapshot[] {
    return [
      ...[...this.#limits].map(([name, requests]) => ({ name, enforced: true, requests })),
      ...[...this.#shadows].map(([name, requests]) => ({ name, enforced: false, requests })),
    ];
  }

  snapshot(): readonly SeriesSnapshot[] {
    return [...this.#entries.values()].map(({ direction, service, source, series }) => ({
      direction,
      service,
      source,
      byStatus: [...series.byStatus].map(([status, { requests, latency, latencySumMs }]) => ({
        status,
        requests,
        latency: [...latency],
        latencySumMs,
      })),
      bytesReceived: series.bytesReceived,
      bytesSent: series.bytesSent,
    }));
  }
}

/** Latencies are counted in buckets whose upper bounds double from 0.5 ms; the last one takes all above. */
export const latencyBoundsMs: readonly number[] = Array.from({ length: 18 }, (_, i) => 0.5 * 2 ** i);

/** What was counted of the requests from one source to one service. */
export class Series {
  /** Requests by class of status: 1xx to 5xx at 1 to 5; at 0 those that got no answer. */
  readonly byClass = new Float64Array(6);
  readonly latency = new Float64Array(latencyBoundsMs.length + 1);
  latencySumMs = 0;
  bytesReceived = 0;
  bytesSent = 0;

  count(status: number, durationMs: number, bytesReceived: number, bytesSent: number): void {
    const kind = Math.floor(status / 100);
    this.byClass[kind] = (this.byClass[kind] ?? 0) + 1;
    let bucket = 0;
    for (let bound = 0.5; durationMs > bound && bucket < latencyBoundsMs.length; bound *= 2) bucket++;
    this.latency[bucket] = (this.latency[bucket] ?? 0) + 1;
    this.latencySumMs += durationMs;
    this.bytesReceived += bytesReceived;
    this.bytesSent += bytesSent;
  }
}

/** A copy of one series as plain data. */
export interface SeriesSnapshot {
  readonly direction: 'inbound' | 'outbound';
  readonly service: string;
  readonly source: string;
  readonly byClass: readonly number[];
  /** One more than `latencyBoundsMs`. */
  readonly latency: readonly number[];
  readonly latencySumMs: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

interface Entry {
  readonly direction: 'inbound' | 'outbound';
  readonly service: string;
  readonly source: string;
  readonly series: Series;
}

/** At most this many series; later pairs are counted together under the names `other`. */
export const maxSeries = 1024;

/** Requests per (service, source), counted since the start. */
export class Counters {
  readonly #entries = new Map<string, Entry>();
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

  snapshot(): readonly SeriesSnapshot[] {
    return [...this.#entries.values()].map(({ direction, service, source, series }) => ({
      direction,
      service,
      source,
      byClass: [...series.byClass],
      latency: [...series.latency],
      latencySumMs: series.latencySumMs,
      bytesReceived: series.bytesReceived,
      bytesSent: series.bytesSent,
    }));
  }
}

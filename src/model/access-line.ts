import type { AccessRecord } from './access.ts';

export const accessLogFormats = ['json', 'envoy'] as const;
export type AccessLogFormat = (typeof accessLogFormats)[number];

/** One line of the access log, without its end. */
export function accessLine(record: AccessRecord, format: AccessLogFormat): string {
  return format === 'json' ? jsonLine(record) : envoyLine(record);
}

/** All that is known, with the time as operators write it. */
function jsonLine({ at, ...rest }: AccessRecord): string {
  return JSON.stringify({ time: new Date(at).toISOString(), ...rest });
}

/**
 * Envoy's default format string (docs/configuration/observability/access_log), so that what reads Envoy's logs reads these. What is
 * not kept of a request (the upstream's time and address, forwarded addresses, the user agent) is `-`, and so is the query.
 */
function envoyLine(record: AccessRecord): string {
  const protocol = record.method === '-' ? '-' : 'HTTP/1.1';
  const request = `${quoted(record.method)} ${quoted(record.path)} ${protocol}`;
  const amounts = `${record.bytesReceived} ${record.bytesSent} ${Math.round(record.durationMs)}`;
  const ids = `"${quoted(record.requestId)}" "${quoted(record.host)}"`;
  const time = new Date(record.at).toISOString();
  return `[${time}] "${request}" ${record.status} ${record.flags} ${amounts} - "-" "-" ${ids} "-"`;
}

/** Within double quotes: a client must not end them. */
function quoted(text: string): string {
  return text.includes('"') ? text.replaceAll('"', '%22') : text;
}

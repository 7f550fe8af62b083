/**
 * One record of Mesos' RecordIO: its length in bytes, a line feed, and the value as JSON. Everything beyond ASCII is escaped: there are
 * clients that count characters where bytes are meant.
 */
export function encodeRecord(value: object): string {
  const json = JSON.stringify(value).replace(/[\u007f-\uffff]/g, escapeUnit);
  return `${json.length}\n${json}`;
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

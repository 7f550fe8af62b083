// The tasks of a periodic job are labelled `<time of the run>-<name>`, as `20300101t120000z-0`.

const pattern = /^(\d{4})(\d{2})(\d{2})t(\d{2})(\d{2})(\d{2})z-(.+)$/;

export interface RunLabel {
  /** When the run was due, in milliseconds since 1970. */
  readonly at: number;
  /** As the task is called in the job. */
  readonly name: string;
}

export function printRunLabel({ at, name }: RunLabel): string {
  const time = new Date(at).toISOString().slice(0, 19).replace(/[-:]/g, '').toLowerCase();
  return `${time}z-${name}`;
}

/** Undefined for what is no task of a run. */
export function parseRunLabel(label: string): RunLabel | undefined {
  const match = pattern.exec(label);
  if (match === null) return undefined;
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number);
  return { at: Date.UTC(year, month - 1, day, hour, minute, second), name: match[7] ?? '' };
}

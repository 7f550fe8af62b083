/** One measurement beside that of a named peer in the same run. */
export interface Row {
  readonly case: string;
  readonly value: number;
  readonly unit: string;
  /** Whose value is compared, and that value; `-` and NaN where there is nobody. */
  readonly peer: string;
  readonly peerValue: number;
  /** How many times better than the peer. */
  readonly ratio: number;
  /** As a person reads it. */
  readonly goal: string;
  readonly met: boolean;
}

export const noPeer = '-';

/** Prints a table, or with `--json` one object a line. */
export function printRows(rows: readonly Row[], asJson: boolean): void {
  if (asJson) {
    for (const row of rows) console.log(JSON.stringify(row));
    return;
  }
  const lines = [
    ['case', 'value', 'peer', 'ratio', 'goal', 'met'],
    ...rows.map(row => [
      row.case,
      `${brief(row.value)} ${row.unit}`,
      row.peer === noPeer ? noPeer : `${row.peer}: ${brief(row.peerValue)}`,
      row.peer === noPeer ? noPeer : `${brief(row.ratio)} x`,
      row.goal,
      row.met ? 'yes' : 'NO',
    ]),
  ];
  const widths = [0, 1, 2, 3, 4, 5].map(i => Math.max(...lines.map(line => line[i]?.length ?? 0)));
  for (const line of lines)
    console.log(
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    );
}

function brief(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** One measured line of a check, as other programs read it; `ratio` is value by peer, where there is a peer. */
export interface Row {
  readonly case: string;
  readonly value: number;
  readonly unit: string;
  readonly peer: number | null;
  readonly ratio: number | null;
  readonly goal: number;
  readonly met: boolean;
}

export function say(text = ''): void {
  process.stdout.write(`${text}\n`);
}

export function printRow(row: Row): void {
  say(JSON.stringify(row));
}

/** Columns of one table, as wide as their widest cell but for the last. */
export function printTable(lines: readonly (readonly string[])[]): void {
  const widths = (lines[0] ?? []).map((_, i) => Math.max(...lines.map(cells => cells[i]?.length ?? 0)));
  for (const cells of lines)
    say(
      cells
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    );
}

/** Takes what a case has shown. */
export type Hold = (name: string, row: Pick<Row, 'value' | 'unit' | 'goal' | 'met'>) => void;

/** A case that holds or does not: one of one. */
export function fact(met: boolean, unit: string): Parameters<Hold>[1] {
  return { value: met ? 1 : 0, unit, goal: 1, met };
}

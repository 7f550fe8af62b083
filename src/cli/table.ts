import Table from 'cli-table3';
import { visible } from './readable.ts';

export interface Column<Row> {
  readonly head: string;
  readonly cell: (row: Row, now: number) => string;
  /** Only with `-o wide`. */
  readonly wide?: true;
  readonly align?: 'left' | 'right';
}

export interface TableOptions {
  readonly wide: boolean;
  /** Milliseconds since 1970, for ages. */
  readonly now: number;
}

const noBorders = Object.fromEntries(
  ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right']
    .concat(['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'])
    .map(place => [place, '']),
);

/** Rows under their heads, without lines and colours; no spaces at the ends, so that it can be cut and compared. */
export function renderTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], options: TableOptions): string {
  const shown = columns.filter(column => options.wide || column.wide !== true);
  const table = new Table({
    head: shown.map(column => column.head),
    chars: { ...noBorders, middle: '   ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
    colAligns: shown.map(column => column.align ?? 'left'),
  });
  for (const row of rows) table.push(shown.map(column => visible(column.cell(row, options.now)) || '-'));
  return table.toString().replace(/ +$/gm, '');
}

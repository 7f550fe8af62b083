import { type Command, Option } from 'commander';
import { stringify } from 'yaml';
import { print, remark, type Shell } from './shell.ts';
import { type Column, renderTable } from './table.ts';

export type OutputFormat = 'table' | 'wide' | 'json' | 'yaml';

export interface OutputOptions {
  readonly output: OutputFormat;
}

/** Adds `-o`; `wide` where there are columns to add. */
export function withOutput(command: Command, formats: readonly OutputFormat[] = ['table', 'json', 'yaml']): Command {
  const option = new Option('-o, --output <format>', 'how to print').choices(formats).default('table');
  return command.addOption(option);
}

/** Prints `value` for programs, or lets `show` print it for people. */
export function printAs(shell: Shell, format: OutputFormat, value: unknown, show: () => void): void {
  switch (format) {
    case 'json':
      print(shell, JSON.stringify(value, undefined, 2));
      return;
    case 'yaml':
      print(shell, stringify(value, { aliasDuplicateObjects: false }).trimEnd());
      return;
    case 'table':
    case 'wide':
      show();
      return;
    default:
      format satisfies never;
  }
}

/** A table, or one remark when there is nothing to show. */
export function printRows<Row>(
  shell: Shell,
  format: OutputFormat,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  nouns: string,
): void {
  if (rows.length === 0) remark(shell, `no ${nouns}`);
  else print(shell, renderTable(columns, rows, { wide: format === 'wide', now: shell.now() }));
}

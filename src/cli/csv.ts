/** One line of comma-separated values, as RFC 4180 has it. A spreadsheet takes a cell that begins like a formula for one: such get a quote before. */
export function csvLine(cells: readonly (string | number)[]): string {
  return cells.map(cell => (typeof cell === 'number' ? String(cell) : csvCell(cell))).join(',');
}

function csvCell(text: string): string {
  const safe = /^[=+\-@\t\r]./s.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

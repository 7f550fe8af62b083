import { printAuditNumber } from './audit-chain.ts';

/** What is wrong with one entry: `was removed`, `has no anchor: it was added, …`. */
export interface EntryFinding {
  readonly chain: number;
  readonly number: number;
  readonly what: string;
}

/** A sentence for each, and one for those of which the same is to be said and that follow each other. */
export function foldEntries(findings: readonly EntryFinding[]): string[] {
  const runs: { readonly first: EntryFinding; last: number }[] = [];
  for (const each of findings) {
    const run = runs.at(-1);
    const follows = run?.first.what === each.what && run.first.chain === each.chain && run.last + 1 === each.number;
    if (run !== undefined && follows) run.last = each.number;
    else runs.push({ first: each, last: each.number });
  }
  return runs.map(({ first, last }) => {
    if (first.number === last) return `record ${printAuditNumber(last)}${ofChain(first.chain)} ${first.what}`;
    const range = `${printAuditNumber(first.number)} to ${printAuditNumber(last)}`;
    return `records ${range}${ofChain(first.chain)} ${plural(first.what)}`;
  });
}

function ofChain(chain: number): string {
  return chain > 1 ? ` of chain ${chain}` : '';
}

function plural(what: string): string {
  return what.replace(/^was/, 'were').replace(/^has/, 'have').replace('it was', 'they were').replace('its', 'their');
}

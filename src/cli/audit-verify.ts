import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import * as v from 'valibot';
import { MesoliteError } from '../base/errors.ts';
import { decodeJson } from '../base/shape.ts';
import { sha256Hex } from '../identity/keys.ts';
import type { AuditItem } from '../model/audit-item.ts';
import { AuditVerifier, type Checked, type Finding, type Noted } from '../model/audit-verifier.ts';
import { makeApiClient } from './api-client.ts';
import { parseName } from './arguments.ts';
import { auditItems, itemsOfFile } from './audit-pages.ts';
import { makeAuditTrust } from './audit-trust.ts';
import { chooseContext } from './contexts.ts';
import { unreadable } from './file-words.ts';
import { type OutputFormat, printAs, printRows, withOutput } from './output.ts';
import { printTime } from './readable.ts';
import { print, type Shell } from './shell.ts';
import type { Column } from './table.ts';

interface Options {
  readonly output: OutputFormat;
  readonly node?: string;
  readonly file?: string;
  readonly ca?: string;
  readonly earlier?: string;
}

/** What `verify -o json` printed before; the rest of it is not looked at. */
const earlierSchema = v.object({
  nodes: v.array(v.object({ node: v.string(), seq: v.number(), newest: v.pipe(v.string(), v.length(64)) })),
});

/** More are counted: one change of a database may touch every record. */
const shownFindings = 100;

const columns: readonly Column<Checked>[] = [
  { head: 'NODE', cell: each => each.node },
  { head: 'RECORDS', cell: each => String(each.records), align: 'right' },
  { head: 'GAPS', cell: each => String(each.gaps), align: 'right' },
  { head: 'FROM', cell: each => each.from },
  { head: 'TO', cell: each => each.to },
  { head: 'PRUNED (UTC)', cell: ({ prunedAt }) => (prunedAt === null ? '-' : printTime(prunedAt)) },
  { head: 'NEWEST ANCHOR', cell: each => each.newest.slice(0, 16) },
  { head: 'ANCHORS', cell: each => String(each.anchors), align: 'right', wide: true },
];

/** `mesolite audit verify` */
export function addAuditVerify(audit: Command, shell: Shell): void {
  const command = audit
    .command('verify')
    .description('look for records that were removed, changed, added or reordered; exit code 1 when there are any')
    .option('--node <id>', 'only of this node', parseName)
    .addOption(new Option('-f, --file <file>', 'an export in place of what the master has'))
    .option('--ca <file>', 'roots that you trust, in PEM; those of the context when left out')
    .option('--earlier <file>', 'what `verify -o json` printed before: what was there then has to be there still');
  withOutput(command, ['table', 'wide', 'json', 'yaml']).action(async ({ output, ...options }: Options) => {
    const { items, roots } = sourceOf(shell, command, options);
    const { findings, count, nodes } = await verify(items, roots, options);
    printAs(shell, output, { nodes, findings, count }, () => {
      printRows(shell, output, columns, nodes, 'audit');
      for (const { node, what } of findings) print(shell, `${node}: ${what}`);
    });
    if (count > 0)
      throw new MesoliteError(
        'CONFLICT',
        `the audit was tampered with: ${count === 1 ? '1 finding' : `${count} findings`}`,
      );
  });
}

function sourceOf(shell: Shell, command: Command, { file, ca, node }: Omit<Options, 'output'>) {
  const { context: asked } = command.optsWithGlobals<{ context?: string }>();
  const context = file === undefined || ca === undefined ? chooseContext(shell, asked).context : undefined;
  const roots = readText(ca ?? context?.ca ?? '');
  if (file !== undefined) return { items: itemsOfFile(file), roots };
  if (context === undefined) throw new MesoliteError('INTERNAL', 'there is no context');
  return { items: auditItems(makeApiClient(context, shell.signal), { node }), roots };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function readEarlier(path: string, node: string | undefined): readonly Noted[] {
  const text = readText(path);
  const { nodes } = decodeJson(earlierSchema, text, path, { maxBytes: 16 * 1024 * 1024, maxDepth: 8 });
  return nodes.filter(each => node === undefined || each.node === node);
}

async function verify(
  items: AsyncIterable<AuditItem>,
  roots: string,
  { node, file, earlier }: Omit<Options, 'output'>,
) {
  const trust = makeAuditTrust(roots);
  const verifier = new AuditVerifier(
    { sha256: sha256Hex, isSigned: trust.isSigned },
    // an export may begin later than the audit: what it says of itself is in the table
    { isFromStart: file === undefined, noted: earlier === undefined ? [] : readEarlier(earlier, node) },
  );
  const findings: Finding[] = [];
  let count = 0;
  const note = (found: readonly Finding[]) => {
    count += found.length;
    if (findings.length < shownFindings) findings.push(...found.slice(0, shownFindings - findings.length));
  };
  for await (const item of items) {
    if (item.kind === 'signer') trust.add(item.keyId, item.certificate);
    else if (node === undefined || item.node === node) note(verifier.add(item));
  }
  note(verifier.end());
  return { nodes: verifier.checked(), findings, count };
}

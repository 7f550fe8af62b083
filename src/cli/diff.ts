import { type Command, InvalidArgumentError } from 'commander';
import { hourMs } from '../base/clock.ts';
import { describeDocument } from '../model/document.ts';
import { defaultMesh } from '../model/policy.ts';
import { makeReplay, type Replay } from '../policy/replay.ts';
import { collect, parseSince } from './arguments.ts';
import { AnsweredNo } from './exit-codes.ts';
import {
  documentsOf,
  fetchMesh,
  jobsIn,
  type MeshDocuments,
  type MeshState,
  readMeshFiles,
  withDocuments,
} from './mesh-documents.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { shorten } from './readable.ts';
import { fetchCalls, maxReplayed, type RecordedCalls } from './recorded-calls.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';
import { type Column, renderTable } from './table.ts';
import { changesBetween, type DocumentChange } from './text-diff.ts';

interface DiffOptions extends OutputOptions {
  readonly file: readonly string[];
  readonly delete?: true;
  readonly since?: number;
  readonly replay: boolean;
}

/** Calls that are alike, and what becomes of them. */
interface ChangedCalls {
  readonly calls: number;
  readonly source: string;
  readonly destination: string;
  readonly request: string;
  readonly was: 'allow' | 'deny';
  readonly becomes: 'allow' | 'deny';
  /** What will decide. */
  readonly rule: string;
}

interface Effect {
  readonly calls: number;
  readonly denied: number;
  readonly allowed: number;
  readonly changed: readonly ChangedCalls[];
  /** Calls that may be decided otherwise, by what no record tells. */
  readonly inexact: number;
  readonly open: readonly string[];
  /** Calls to tasks of jobs that are gone. */
  readonly gone: number;
  readonly isCut: boolean;
}

/** `mesolite diff -f FILE` */
export function addDiff(program: Command, shell: Shell): void {
  const command = program
    .command('diff')
    .description(
      'show what applying files would change, in documents and in what became of calls; 1 when something differs',
    )
    .requiredOption('-f, --file <path>', 'file, directory or - for standard input; may be repeated', collect)
    .option('--delete', 'what `mesolite delete -f` would change')
    .option(
      '--since <time>',
      'the calls from then on are decided again: 30m, 1h, 7d ago, or a date (default: 1h)',
      sinceBefore(shell),
    )
    .option('--no-replay', 'documents only');
  withOutput(command).action(async (options: DiffOptions) => {
    const api = openSession(shell, command);
    const before = await fetchMesh(api, {});
    const after = await changedMesh(shell, before, options);
    const changes = changesBetween(before.documents, after);
    const touches = changes.some(({ document }) => /^(AuthorizationPolicy|PeerAuthentication) /.test(document));
    const calls =
      touches && options.replay
        ? await fetchCalls(api, options.since ?? shell.now() - hourMs, jobsIn(before.documents))
        : undefined;
    const effect = calls && replayed(calls, replayOf(before), replayOf({ ...before, documents: after }));
    printAs(shell, options.output, { changes, ...(effect && { effect }) }, () => show(shell, changes, effect));
    if (changes.length > 0) throw new AnsweredNo();
  });
}

function sinceBefore(shell: Shell): (text: string) => number {
  const parse = parseSince(shell.now);
  return text => {
    const since = parse(text);
    if (since > shell.now()) throw new InvalidArgumentError('expected a time that has passed');
    return since;
  };
}

async function changedMesh(shell: Shell, { mesh, documents }: MeshState, options: DiffOptions): Promise<MeshDocuments> {
  const sent = await readMeshFiles(options.file, shell, mesh);
  if (options.delete !== true) return withDocuments(documents, sent);
  const removed = new Set(sent.map(describeDocument));
  return new Map([...documents].filter(([name]) => !removed.has(name)));
}

function replayOf({ mesh, documents }: MeshState): Replay {
  const { trustDomain = defaultMesh.trustDomain } = mesh;
  return makeReplay({
    ...mesh,
    trustDomain,
    policies: documentsOf(documents, 'AuthorizationPolicy'),
    peerAuthentications: documentsOf(documents, 'PeerAuthentication'),
  });
}

/** Decides the calls by the old and by the new policies. */
function replayed({ groups, count, isCut }: RecordedCalls, old: Replay, fresh: Replay): Effect {
  const changed: ChangedCalls[] = [];
  const open = new Set<string>();
  let inexact = 0;
  let gone = 0;
  for (const { call, called, source, destination, count: calls } of groups) {
    if (called === undefined) {
      gone += calls;
      continue;
    }
    const [now, then] = [old.ask(called, call), fresh.ask(called, call)];
    if (now.verdict === 'unknown' || then.verdict === 'unknown') {
      // what is open in both alike is open in the record alone
      if (now.open.join() === then.open.join() && now.verdict === then.verdict) continue;
      inexact += calls;
      for (const each of [...now.open, ...then.open]) open.add(each);
    } else if (now.verdict !== then.verdict) {
      const request = call.protocol === 'tcp' ? 'tcp' : `${call.method} ${call.path}`;
      changed.push({ calls, source, destination, request, was: now.verdict, becomes: then.verdict, rule: then.rule });
    }
  }
  const sum = (verdict: 'allow' | 'deny') =>
    changed.filter(({ becomes }) => becomes === verdict).reduce((total, { calls }) => total + calls, 0);
  const sorted = merged(changed).sort((a, b) => b.calls - a.calls);
  return {
    calls: count,
    denied: sum('deny'),
    allowed: sum('allow'),
    changed: sorted,
    inexact,
    open: [...open],
    gone,
    isCut,
  };
}

/** By source, destination, method, path and rule: other hosts and addresses of the caller make no line of their own. */
function merged(changed: readonly ChangedCalls[]): ChangedCalls[] {
  const lines = new Map<string, ChangedCalls>();
  for (const each of changed) {
    const { calls, ...rest } = each;
    const key = JSON.stringify(rest);
    lines.set(key, { ...each, calls: calls + (lines.get(key)?.calls ?? 0) });
  }
  return [...lines.values()];
}

const maxRows = 50;
const maxOpen = 5;
const maxWords = 60;

const columns: readonly Column<ChangedCalls>[] = [
  { head: 'CALLS', cell: ({ calls }) => String(calls), align: 'right' },
  { head: 'SOURCE', cell: ({ source }) => source },
  { head: 'DESTINATION', cell: ({ destination }) => destination },
  { head: 'REQUEST', cell: ({ request }) => shorten(request, maxWords) },
  { head: 'BECOMES', cell: ({ becomes }) => becomes },
  { head: 'RULE', cell: ({ rule }) => rule },
];

function show(shell: Shell, changes: readonly DocumentChange[], effect: Effect | undefined): void {
  if (changes.length === 0) remark(shell, 'nothing differs');
  for (const { diff } of changes) print(shell, diff);
  if (effect !== undefined) showEffect(shell, effect);
  if (changes.some(({ document }) => document.startsWith('RequestAuthentication '))) {
    remark(shell, 'what a RequestAuthentication changes for calls is not known: no record has a token');
  }
}

function showEffect(shell: Shell, { calls, denied, allowed, changed, inexact, open, gone, isCut }: Effect): void {
  const number = (count: number) => count.toLocaleString('en-US');
  print(shell, '');
  const end = changed.length === 0 ? '' : ':';
  print(
    shell,
    `${number(denied)} of ${number(calls)} calls would now be denied, ${number(allowed)} would now be allowed${end}`,
  );
  if (changed.length > 0) {
    print(shell, renderTable(columns, changed.slice(0, maxRows), { wide: false, now: shell.now() }));
    if (changed.length > maxRows) print(shell, `and ${changed.length - maxRows} more kinds of calls`);
  }
  if (inexact > 0) {
    print(shell, `${number(inexact)} calls may be decided otherwise, by what their records do not have:`);
    for (const each of open.slice(0, maxOpen)) print(shell, `    ${each}`);
    if (open.length > maxOpen) print(shell, `    and ${open.length - maxOpen} more`);
  }
  if (gone > 0) print(shell, `${number(gone)} calls were to jobs that are gone, and are left out`);
  if (isCut) print(shell, `there were more calls: the newest ${number(Math.min(maxReplayed, calls))} were looked at`);
}

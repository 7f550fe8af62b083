import { Buffer } from 'node:buffer';
import { messageOf } from '../base/errors.ts';
import {
  type Anchor,
  digestOf,
  type Pruned,
  readAnchor,
  readPruned,
  type Signed,
  signedBytes,
  splitDigests,
} from './audit-anchor.ts';
import { chainHead, chainStart, printAuditNumber, runOf, type Sha256 } from './audit-chain.ts';
import { type EntryFinding, foldEntries } from './audit-findings.ts';
import type { AuditItem } from './audit-item.ts';

/** Something that is not as the master has signed it. */
export interface Finding {
  readonly node: string;
  readonly what: string;
}

/** What was looked at of one node. */
export interface Checked {
  readonly node: string;
  readonly records: number;
  readonly gaps: number;
  readonly anchors: number;
  /** The first that was there, and the last. */
  readonly from: string;
  readonly to: string;
  /** When the entries before it were pruned, in milliseconds since 1970; null when nothing was. */
  readonly prunedAt: number | null;
  /** The number and the SHA-256 of the newest anchor: who notes them can tell later that nothing was cut off before it. */
  readonly seq: number;
  readonly newest: string;
}

/** The newest anchor of a node in an earlier check. */
export type Noted = Pick<Checked, 'node' | 'seq' | 'newest'>;

type Entry = Extract<AuditItem, { kind: 'record' | 'gap' }>;
type Row = Extract<AuditItem, { kind: 'record' }> & { readonly line: string; readonly digest: string };

interface NodeState {
  readonly node: string;
  pruned: Pruned | undefined;
  seq: number | undefined;
  before: string;
  /** Entries whose anchor has not come yet. */
  pending: Entry[];
  /** Where each chain stands, by run and chain. */
  readonly heads: Map<string, { readonly last: number; readonly hash: string }>;
  records: number;
  gaps: number;
  anchors: number;
  from: string;
  to: string;
}

export interface VerifierParts {
  readonly sha256: Sha256;
  /** Is this the signature of a key that the trusted roots vouched for at that time? */
  readonly isSigned: (keyId: string, bytes: Uint8Array, signature: Uint8Array, at: number) => boolean;
}

export interface VerifierSettings {
  /** Must an audit begin at its first record, or at a signed note of what was pruned? An export of some days does not. */
  readonly isFromStart: boolean;
  /** What must still be there. */
  readonly noted?: readonly Noted[];
}

/** An anchor is about so many entries at the most. */
const maxPending = 2_000;

/** Checks an audit item by item, in the order of an export, in bounded memory; each call returns what it found. */
export class AuditVerifier {
  readonly #parts: VerifierParts;
  readonly #isFromStart: boolean;
  readonly #noted: ReadonlyMap<string, Noted>;
  readonly #nodes = new Map<string, NodeState>();

  constructor(parts: VerifierParts, { isFromStart, noted = [] }: VerifierSettings) {
    this.#parts = parts;
    this.#isFromStart = isFromStart;
    this.#noted = new Map(noted.map(each => [each.node, each]));
  }

  add(item: AuditItem): readonly Finding[] {
    if (item.kind === 'signer') return [];
    const state = this.#stateOf(item.node);
    const say = (what: string): Finding => ({ node: item.node, what });
    if (item.kind === 'pruned') return this.#readPruned(state, item).map(say);
    if (item.kind === 'anchor') return this.#readAnchor(state, item).map(say);
    state.pending.push(item);
    return state.pending.length > maxPending ? this.#unanchored(state) : [];
  }

  /** What is left over when all items have come. */
  end(): readonly Finding[] {
    const left = [...this.#nodes.values()].flatMap(state => this.#unanchored(state));
    return [...left, ...[...this.#noted.values()].flatMap(noted => this.#cutOff(noted))];
  }

  checked(): readonly Checked[] {
    return [...this.#nodes.values()].map(({ node, records, gaps, anchors, from, to, pruned, seq, before }) => {
      const newest = { seq: seq ?? 0, newest: before };
      return { node, records, gaps, anchors, from, to, prunedAt: pruned?.at ?? null, ...newest };
    });
  }

  #stateOf(node: string): NodeState {
    const known = this.#nodes.get(node);
    if (known !== undefined) return known;
    const counts = { records: 0, gaps: 0, anchors: 0, from: '-', to: '-' };
    const state = {
      node,
      pruned: undefined,
      seq: undefined,
      before: chainStart,
      pending: [],
      heads: new Map(),
      ...counts,
    };
    this.#nodes.set(node, state);
    return state;
  }

  #unanchored(state: NodeState): readonly Finding[] {
    const what = 'has no anchor: it was added, or its anchor was removed';
    const entries = state.pending.splice(0).map(({ chain, number }) => ({ chain, number, what }));
    return foldEntries(entries).map(what => ({ node: state.node, what }));
  }

  #cutOff({ node, seq }: Noted): readonly Finding[] {
    const state = this.#nodes.get(node);
    if (Math.max(state?.seq ?? 0, state?.pruned?.pruned ?? 0) >= seq) return [];
    const after = state === undefined || state.to === '-' ? '' : ` after ${state.to}`;
    return [{ node, what: `anchor ${seq} was there in an earlier check and is missing, with the records${after}` }];
  }

  #readPruned(state: NodeState, item: Signed): readonly string[] {
    const pruned = this.#noteIn(state, item);
    if (pruned === undefined) return ['the note of what was pruned is not signed by the master'];
    const isNews = pruned.pruned > (state.seq ?? state.pruned?.pruned ?? 0);
    if (!isNews) return [];
    // it comes first, or later where what comes next was pruned while an export was read: the master signs that it need not be there
    const findings = this.#unanchored(state).map(({ what }) => what);
    state.pruned = pruned;
    state.seq = undefined;
    state.heads.clear();
    return findings;
  }

  #noteIn({ node }: NodeState, item: Signed): Pruned | undefined {
    try {
      const pruned = readPruned(item.statement);
      return pruned.node === node && this.#isSigned(item, pruned.at) ? pruned : undefined;
    } catch {
      return undefined;
    }
  }

  #readAnchor(state: NodeState, item: Signed): readonly string[] {
    let anchor: Anchor;
    try {
      anchor = readAnchor(item.statement);
    } catch (error) {
      return [`the anchor after ${state.to} cannot be read: ${messageOf(error)}`];
    }
    const entries = state.pending.splice(0);
    const range = `${printAuditNumber(anchor.first)} to ${printAuditNumber(anchor.last)}`;
    const name = `anchor ${anchor.seq} (records ${range})`;
    if (anchor.node !== state.node) return [`${name} is of the node ${anchor.node}`];
    if (!this.#isSigned(item, anchor.at)) return [`${name} is forged: it is not signed by the master`];
    const findings: string[] = [
      ...placeOf(state, anchor, name, this.#isFromStart),
      ...this.#compare(anchor, entries),
      ...this.#continue(state, anchor, name),
    ];
    const hash = this.#parts.sha256(item.statement);
    const noted = this.#noted.get(state.node);
    if (noted?.seq === anchor.seq && noted.newest !== hash)
      findings.push(`${name} is another one than in an earlier check`);
    // one out of its place tells nothing of what comes next
    if (anchor.seq <= (state.seq ?? 0)) return findings;
    state.seq = anchor.seq;
    state.before = hash;
    state.heads.set(chainOf(anchor), { last: anchor.last, hash: anchor.head });
    state.anchors++;
    state.gaps += entries.filter(isGap).length;
    state.records += entries.filter(entry => entry.kind === 'record' && !('mark' in entry.record)).length;
    if (state.from === '-') state.from = printAuditNumber(anchor.first);
    state.to = printAuditNumber(anchor.last);
    return findings;
  }

  #isSigned({ statement, keyId, signature }: Signed, at: number): boolean {
    const bytes = Buffer.from(signature, 'base64url');
    return bytes.toString('base64url') === signature && this.#parts.isSigned(keyId, signedBytes(statement), bytes, at);
  }

  /** Are the entries those that the anchor is about? */
  #compare(anchor: Anchor, entries: readonly Entry[]): readonly string[] {
    const rows = entries.flatMap((entry): Row[] => {
      if (entry.kind === 'gap') return [];
      const line = JSON.stringify(entry.record);
      return [{ ...entry, line, digest: digestOf(line, this.#parts.sha256) }];
    });
    const findings = [...compareGaps(anchor, entries), ...compareRows(anchor, rows)];
    if (findings.length > 0) return findings;
    const lines = rows.map(({ line }) => line);
    if (chainHead(anchor.previous, lines, this.#parts.sha256) === anchor.head) return [];
    return [`among the records ${printAuditNumber(anchor.first)} to ${printAuditNumber(anchor.last)} one was changed`];
  }

  /** Does it follow from the anchor before it in its chain, as far as that was seen? */
  #continue({ heads }: NodeState, anchor: Anchor, name: string): readonly string[] {
    const before = heads.get(chainOf(anchor));
    if (before === undefined || anchor.gap !== null) return [];
    const follows = anchor.first === before.last + 1 && anchor.previous === before.hash;
    return follows ? [] : [`${name} does not follow from record ${printAuditNumber(before.last)}`];
  }
}

function chainOf({ first, chain }: Anchor): string {
  return `${runOf(first)}/${chain}`;
}

function isGap(entry: Entry): boolean {
  return entry.kind === 'gap' || ('mark' in entry.record && entry.record.mark === 'gap');
}

/** Is the anchor the next one of its node? */
function placeOf(state: NodeState, anchor: Anchor, name: string, isFromStart: boolean): readonly string[] {
  const { seq, pruned } = state;
  const isFirst = seq === undefined;
  if (isFirst && !isFromStart && pruned === undefined) return [];
  const expected = (seq ?? pruned?.pruned ?? 0) + 1;
  const before = isFirst ? (pruned?.before ?? chainStart) : state.before;
  if (anchor.seq < expected) return [`${name} is out of its place: anchor ${expected - 1} came before it`];
  if (anchor.seq > expected) {
    const missing =
      expected === anchor.seq - 1 ? `anchor ${expected} is` : `anchors ${expected} to ${anchor.seq - 1} are`;
    const after = state.to === '-' ? '' : ` after ${state.to} and`;
    return [`${missing} missing, with the records${after} before ${printAuditNumber(anchor.first)}`];
  }
  return anchor.before === before ? [] : [`${name} does not follow from the anchor before it`];
}

/** The mark of a gap stands before the first record, and has its time. */
function compareGaps({ gap, first, chain }: Anchor, entries: readonly Entry[]): readonly string[] {
  const marks = entries.filter(entry => entry.kind === 'gap');
  const [mark] = marks;
  const place = `before record ${printAuditNumber(first)}`;
  const strange =
    gap !== null && marks.length < 2 ? [] : marks.filter(each => gap === null || each.number !== first - 1);
  if (strange.length > 0)
    return strange.map(each => `the mark of a gap at ${printAuditNumber(each.number)} was added ${place}`);
  if (gap === null) return [];
  if (mark === undefined) return [`the mark of a gap was removed ${place}: ${gap}`];
  if (marks.length > 1) return [`the mark of a gap was added ${place}`];
  if (entries[0] !== mark) return [`the mark of a gap was reordered ${place}`];
  const next = entries.find(({ number }) => number === first);
  const isTime = next?.kind !== 'record' || next.record.at === mark.at;
  const isSame = mark.reason === gap && mark.number === first - 1 && mark.chain === chain && isTime;
  return isSame ? [] : [`the mark of a gap was changed ${place}`];
}

function compareRows(anchor: Anchor, rows: readonly Row[]): readonly string[] {
  const digests = splitDigests(anchor);
  const numberOf = new Map(digests.map((digest, i) => [digest, anchor.first + i]));
  const left = new Map(digests.map((digest, i) => [anchor.first + i, digest]));
  const findings: EntryFinding[] = [];
  let newest = -1;
  for (const row of rows) {
    const { chain, number } = row;
    const say = (what: string) => findings.push({ chain, number, what });
    const expected = chain === anchor.chain ? left.get(number) : undefined;
    if (expected === undefined) say('was added');
    else if (expected !== row.digest) {
      const other = numberOf.get(row.digest);
      say(other === undefined ? 'was changed' : `was replaced by record ${printAuditNumber(other)}`);
    } else if (number < newest) say('was reordered');
    left.delete(number);
    newest = Math.max(newest, number);
  }
  const { chain } = anchor;
  return foldEntries([...findings, ...[...left.keys()].map(number => ({ chain, number, what: 'was removed' }))]);
}

/** The word that was probably meant by one that is not known: at most a third of its letters differ; undefined when none is near. */
export function nearest(written: string, known: readonly string[]): string | undefined {
  const wanted = plain(written);
  const most = Math.floor(Math.min(wanted.length, maxLength) / 3);
  let best: string | undefined;
  let least = most + 1;
  for (const word of known) {
    const distance = editsBetween(wanted, plain(word), least);
    if (distance < least) {
      best = word;
      least = distance;
    }
  }
  return best;
}

/** Longer words have no near ones. */
const maxLength = 40;

/** Case, `_` and `-` are what is mistaken most. */
function plain(word: string): string {
  return word.slice(0, maxLength).toLowerCase().replace(/[_-]/g, '');
}

/** Letters to add, leave out, replace or swap with their neighbour (optimal string alignment); `bound` when it is not less. */
function editsBetween(a: string, b: string, bound: number): number {
  if (Math.abs(a.length - b.length) >= bound) return bound;
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      let edits = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (isSame ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        edits = Math.min(edits, (before[j - 2] ?? 0) + 1);
      next.push(edits);
    }
    before = row;
    row = next;
  }
  return Math.min(row[b.length] ?? bound, bound);
}

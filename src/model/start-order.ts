/** A way through `next` that comes back to where it began, its first node at both ends; undefined when there is none. */
export function findCycle(next: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  for (const start of next.keys()) {
    // a stack of its own: a chain may be as long as a job has tasks
    const path: { readonly name: string; left: readonly string[] }[] = [];
    const onPath = new Set<string>();
    const enter = (name: string) => {
      path.push({ name, left: next.get(name) ?? [] });
      onPath.add(name);
    };
    if (!done.has(start)) enter(start);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const [to, ...left] = top.left;
      top.left = left;
      if (to === undefined) {
        done.add(top.name);
        onPath.delete(top.name);
        path.pop();
      } else if (onPath.has(to)) {
        const names = path.map(({ name }) => name);
        return [...names.slice(names.indexOf(to)), to];
      } else if (!done.has(to)) enter(to);
    }
  }
  return undefined;
}

/** A script that lists what packages may leave of themselves; what systemd, dpkg and useradd remember is theirs. */
export const everything =
  "find /etc /usr /var/lib /opt /srv -xdev ! -path '/var/lib/dpkg*' ! -path '/var/lib/systemd/deb-systemd-helper*' ! -name '*-' ! -name .pwd.lock | sort; cat /etc/passwd /etc/group";

/** Throws where that script printed something else after than before. */
export function expectSame(before: string, after: string): void {
  const [was, is] = [new Set(before.split('\n')), new Set(after.split('\n'))];
  const changed = [...[...is].filter(line => !was.has(line)), ...[...was].filter(line => !is.has(line))];
  if (changed.length > 0) throw new Error(`what differs from before: ${changed.slice(0, 10).join(', ')}`);
}

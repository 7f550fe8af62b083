/** Topics of PROTOCOL: one place that builds them and one that reads them. */
const root = 'mesolite/v1';

/** What a node says. */
export const upKinds = ['birth', 'hb', 'task', 'ack', 'audit', 'csr', 'log', 'shadow', 'death'] as const;
/** What a node hears. */
export const downKinds = ['task', 'ask', 'ack'] as const;

export type UpKind = (typeof upKinds)[number];
export type DownKind = (typeof downKinds)[number];

export const topics = {
  up: (node: string, kind: UpKind) => `${root}/up/${node}/${kind}`,
  down: (node: string, kind: DownKind) => `${root}/down/${node}/${kind}`,
  policy: `${root}/all/policy`,
  manifest: `${root}/all/manifest`,
  service: (key: string) => `${root}/all/services/${key}`,
  joinRequest: (tokenId: string, nonce: string) => `${root}/join/${tokenId}/${nonce}/req`,
  joinResponse: (tokenId: string, nonce: string) => `${root}/join/${tokenId}/${nonce}/res`,
  /** What one node listens to. */
  allDown: (node: string) => `${root}/down/${node}/+`,
  /** What the master listens to. */
  allUp: `${root}/up/+/+`,
  allJoinRequests: `${root}/join/+/+/req`,
} as const;

export type Topic =
  | { readonly kind: 'up'; readonly node: string; readonly what: UpKind }
  | { readonly kind: 'down'; readonly node: string; readonly what: DownKind }
  | { readonly kind: 'policy' }
  | { readonly kind: 'manifest' }
  | { readonly kind: 'service'; readonly key: string }
  | { readonly kind: 'join'; readonly tokenId: string; readonly nonce: string; readonly what: 'req' | 'res' };

const name = /^[a-z0-9-]{1,63}$/;
const key = /^[a-z0-9-]{1,63}\.[a-z0-9-]{1,63}$/;
const token = /^[A-Za-z0-9_-]{1,64}$/;

/** Reads a topic without wildcards; undefined when it is none of ours. */
export function parseTopic(topic: string): Topic | undefined {
  if (topic.length > 256 || !topic.startsWith(`${root}/`)) return undefined;
  if (topic === topics.policy) return { kind: 'policy' };
  if (topic === topics.manifest) return { kind: 'manifest' };
  const [scope, a = '', b = '', c, ...rest] = topic.slice(root.length + 1).split('/');
  if (rest.length > 0) return undefined;
  switch (scope) {
    case 'up': {
      const what = upKinds.find(kind => kind === b);
      return c === undefined && what !== undefined && name.test(a) ? { kind: 'up', node: a, what } : undefined;
    }
    case 'down': {
      const what = downKinds.find(kind => kind === b);
      return c === undefined && what !== undefined && name.test(a) ? { kind: 'down', node: a, what } : undefined;
    }
    case 'all':
      return a === 'services' && c === undefined && key.test(b) ? { kind: 'service', key: b } : undefined;
    case 'join':
      if (!token.test(a) || !token.test(b)) return undefined;
      return c === 'req' || c === 'res' ? { kind: 'join', tokenId: a, nonce: b, what: c } : undefined;
    default:
      return undefined;
  }
}

/** Does the filter stay within our topics? */
export function isOwnFilter(filter: string): boolean {
  return filter.length <= 256 && filter.startsWith(`${root}/`);
}

import { Cell } from '../base/cell.ts';
import { Gate } from '../base/gate.ts';
import { decode } from '../base/shape.ts';
import { type ServiceDocument, serviceDocumentSchema } from '../model/service.ts';
import { topics } from '../model/topics.ts';
import { makeSignedInbox, type SignedInbox, type SignedInboxParts } from './signed-inbox.ts';

/** The services that this node's tasks call: each is heard of only while somebody calls it, and known without a network. */
export interface ServiceInboxes {
  /** By `<name>.<namespace>`. */
  readonly known: Cell<ReadonlyMap<string, ServiceDocument>>;
  /** The revision in force of each service that is listened to; 0 for one of which nothing came. */
  revisions(): ReadonlyMap<string, number>;
  /** These are called by tasks that are here. */
  want(keys: ReadonlySet<string>): Promise<void>;
}

export function makeServiceInboxes(
  parts: SignedInboxParts & {
    readonly subscribe: (topic: string, handler: (topic: string, payload: Uint8Array) => void) => () => void;
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
  },
): ServiceInboxes {
  const { subscribe, inBackground, files } = parts;
  const known = new Cell<ReadonlyMap<string, ServiceDocument>>(new Map());
  const subscriptions = new Map<string, () => void>();
  const inboxes = new Map<string, SignedInbox>();
  const gate = new Gate();

  async function begin(key: string): Promise<void> {
    const file = fileOf(key);
    const inbox = makeSignedInbox(parts, {
      kind: 'service',
      subject: key,
      file,
      take(body) {
        const document = decode(serviceDocumentSchema, body, `service ${key}`);
        known.set(new Map(known.value).set(key, document));
      },
    });
    await inbox.load();
    const unsubscribe = subscribe(topics.service(key), (_, payload) => {
      // the link may use the payload's memory again
      inBackground('taking a service document', inbox.receive(Uint8Array.from(payload)));
    });
    subscriptions.set(key, unsubscribe);
    inboxes.set(key, inbox);
  }

  async function end(key: string): Promise<void> {
    subscriptions.get(key)?.();
    subscriptions.delete(key);
    inboxes.delete(key);
    const left = new Map(known.value);
    left.delete(key);
    known.set(left);
    await files.remove(fileOf(key));
  }

  return {
    known,
    revisions: () => new Map([...inboxes].map(([key, { inForce }]) => [key, inForce?.revision ?? 0])),
    want: keys =>
      gate.run(async () => {
        for (const key of [...subscriptions.keys()]) if (!keys.has(key)) await end(key);
        for (const key of keys) if (!subscriptions.has(key)) await begin(key);
      }),
  };
}

function fileOf(key: string): string {
  return `service.${key}`;
}

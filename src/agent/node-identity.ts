import * as v from 'valibot';
import { decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { nameSchema } from '../model/ids.ts';
import { encodeMessage } from '../model/message.ts';

const pem = v.pipe(v.string(), v.maxLength(32_768));

/** What a node was given when it joined, and whom it joined. */
export const nodeIdentitySchema = v.object({
  node: nameSchema,
  trustDomain: v.string(),
  keyPem: pem,
  /** Leaf first, without the root. */
  chainPem: pem,
  roots: v.array(pem),
  /** Certificates of the keys that sign what the master says. */
  signers: v.array(pem),
  /** Where the master's broker listens, and where it takes WebSockets. */
  masters: v.array(v.object({ host: v.string(), port: v.number(), wssPort: v.optional(v.number()) })),
  /** What the secrets of tasks are derived from; never leaves the node. */
  taskSecret: v.string(),
});

export type NodeIdentity = Readonly<v.InferOutput<typeof nodeIdentitySchema>>;

const fileName = 'identity';

export async function loadIdentity(files: Pick<Files, 'read'>): Promise<NodeIdentity | undefined> {
  const stored = await files.read(fileName);
  return stored && decodeJson(nodeIdentitySchema, stored.value, fileName);
}

export async function storeIdentity(files: Files, identity: NodeIdentity): Promise<void> {
  await files.write(fileName, encodeMessage(identity));
}

/** Counts the starts of this node's agent, on the disk before it is used: what an earlier start said can be told from it. */
export async function nextBoot(files: Files): Promise<number> {
  const stored = await files.read('boot');
  const boot = Number(stored?.value.toString() ?? 0) + 1;
  await files.write('boot', Buffer.from(String(boot)));
  return boot;
}

import * as v from 'valibot';
import { MesoliteError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { decodeJson } from '../base/shape.ts';
import { newId, systemRandom } from '../device/dice.ts';
import { type Files, openFiles } from '../device/files.ts';
import type { CheckedInventory } from '../device/inventory.ts';
import { chooseProfile } from '../device/profiles.ts';
import { trapsHere } from '../device/traps.ts';
import { parseJoinString } from '../identity/join-string.ts';
import { generateKeyPair, type KeyPair, keyIdOf, printPrivateKey, readPrivateKey } from '../identity/keys.ts';
import { readProxyRules } from '../link/proxy-rules.ts';
import { encodeMessage } from '../model/message.ts';
import type { AgentParts } from './agent-parts.ts';
import { profilesFor } from './applied-profiles.ts';
import { openBoardFacts } from './board-facts.ts';
import { certificateFilePrefix } from './certificates.ts';
import { type NodeClock, openNodeClock } from './clock.ts';
import type { AgentConfig } from './config.ts';
import { enroll } from './enrollment.ts';
import { loadIdentity, type NodeIdentity, storeIdentity } from './node-identity.ts';
import { keepRuntime } from './process-runtime.ts';
import { forgetTrust } from './trust.ts';

/** The part of an agent's settings that a join needs. */
export type JoinConfig = Pick<
  AgentConfig,
  'dataDir' | 'node' | 'labels' | 'profile' | 'profilesDir' | 'profiles' | 'proxy'
> & {
  /** What `mesolite token create` printed. */
  readonly join: string;
};

export interface JoinParts extends Pick<AgentParts, 'log'> {
  readonly clock: NodeClock;
  readonly readBoard: () => Promise<CheckedInventory>;
}

const keyFile = 'joining';
const keySchema = v.object({ token: v.string(), keyPem: v.string() });

/**
 * `mesolite join`: throws CONFLICT when the node has joined already, unless it is to `replace` the identity that it has. With `keepName` it
 * is called then as it was.
 */
export async function joinNode(
  { clock: system, log, version }: Pick<AgentParts, 'clock' | 'log' | 'version'>,
  config: JoinConfig,
  { replace, keepName = false }: { readonly replace: boolean; readonly keepName?: boolean },
  signal: AbortSignal,
): Promise<NodeIdentity> {
  const files = await openFiles(config.dataDir);
  const known = await loadIdentity(files);
  if (known !== undefined && !replace) {
    throw new MesoliteError(
      'CONFLICT',
      `this node has joined ${known.trustDomain} as ${known.node} already: say --replace to give that identity up`,
    );
  }
  const clock = await openNodeClock({ system, files, log, newId });
  const node = keepName ? (known?.node ?? config.node) : config.node;
  const readBoard = () => openBoardFacts({ files, log, version });
  return joinFleet({ clock, log, readBoard }, { ...config, node }, files, signal);
}

/** An agent's first start; throws START_FAILED when it was given nothing to join with. */
export async function joinFirst(
  parts: JoinParts,
  { join, ...config }: AgentConfig,
  files: Files,
  signal: AbortSignal,
): Promise<NodeIdentity> {
  if (join !== undefined) return joinFleet(parts, { ...config, join }, files, signal);
  throw new MesoliteError(
    'START_FAILED',
    `this node has not joined yet (there is no identity in ${config.dataDir}): give it what \`mesolite token create\` prints with --join-file`,
  );
}

/** Joins and keeps what it was given; the agent that starts next uses it. Throws as `enroll` does. */
async function joinFleet(
  { clock, log, readBoard }: JoinParts,
  config: JoinConfig,
  files: Files,
  signal: AbortSignal,
): Promise<NodeIdentity> {
  const { node, labels, join } = config;
  const keys = await openKeys(files, parseJoinString(join).id);
  const profile = await profileOf(config, files, log, readBoard);
  log.info('this node asks to be let in', { node, profile, key: keyIdOf(keys.publicKey).slice(0, 16) });
  const parts = { clock, log, random: systemRandom, proxyFor: readProxyRules(config.proxy ?? {}) };
  const identity = await enroll(parts, { join, node, labels, profile, keys }, signal);
  await replaceIdentity(files, identity);
  log.info('this node has joined', { node, trustDomain: identity.trustDomain });
  return identity;
}

/**
 * The key to join with: the same for each attempt with one token, over restarts and power cuts, so that an answer that was lost is given
 * again and an operator's approval finds the one who waits for it.
 */
async function openKeys(files: Files, token: string): Promise<KeyPair> {
  const stored = await files.read(keyFile);
  const known = stored && decodeJson(keySchema, stored.value, keyFile);
  if (known?.token === token) return readPrivateKey(known.keyPem, keyFile);
  const keys = generateKeyPair();
  await files.write(keyFile, encodeMessage({ token, keyPem: printPrivateKey(keys.privateKey) }));
  return keys;
}

/** What came with an identity before goes with it; the tasks of a node that keeps its name keep their secrets. */
async function replaceIdentity(files: Files, identity: NodeIdentity): Promise<void> {
  const before = await loadIdentity(files);
  for (const name of await files.list()) if (name.startsWith(certificateFilePrefix)) await files.remove(name);
  const keeps = before?.node === identity.node && before.trustDomain === identity.trustDomain;
  await forgetTrust(files);
  await storeIdentity(files, keeps ? { ...identity, taskSecret: before.taskSecret } : identity);
  await files.remove(keyFile);
}

/** Who sits at the board is told what it is seen to be in, with what helps. One that is asked for may be the master's, which tells it later. */
async function profileOf(
  { profile: asked, ...folders }: JoinConfig,
  files: Files,
  log: Log,
  readBoard: JoinParts['readBoard'],
): Promise<string> {
  const { inventory } = await readBoard();
  const profile = chooseProfile(inventory, await profilesFor(folders, []), asked);
  if (asked !== undefined && asked !== profile.name) {
    const until = 'until the fleet is heard to have a firmware profile of that name, the one of the board holds';
    log.warn(until, { asked, profile: profile.name });
  }
  for (const { trap, fix, when } of trapsHere(profile))
    if (when !== undefined) log.warn('a known trap of this board', { trap, fix });
  await keepRuntime(files, profile, log);
  return asked ?? profile.name;
}

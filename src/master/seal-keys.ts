import { whyNotSealKey } from '../identity/sealing.ts';
import type { Moment, TrustBundle } from '../identity/verify.ts';
import type { Birth } from '../model/message.ts';
import { secretsAttribute } from '../model/secret.ts';

/** A birth without a key that is not proven to be the node's own, nor the attribute that lets tasks with secrets come there. */
export function checkSealKey(
  node: string,
  birth: Birth,
  bundle: TrustBundle,
  moment: Moment,
): { readonly birth: Birth; readonly reason?: string } {
  const { sealKey, ...rest } = birth;
  const reason = sealKey && whyNotSealKey(sealKey, node, bundle, moment);
  if (sealKey !== undefined && reason === undefined) return { birth };
  const { [secretsAttribute]: _, ...attributes } = birth.attributes;
  return { birth: { ...rest, attributes }, ...(reason !== undefined && { reason }) };
}

import { type ErrorCode, isMesoliteError } from '../../../src/base/errors.ts';
import { decodeJson } from '../../../src/base/shape.ts';
import { parseJoinString, printJoinString } from '../../../src/identity/join-string.ts';
import { generateKeyPair } from '../../../src/identity/keys.ts';
import { createRequest, readRequest } from '../../../src/identity/request.ts';
import { makeEnvelopeSigner } from '../../../src/identity/signer.ts';
import { openEnvelope, sealEnvelope } from '../../../src/model/envelope.ts';
import { manifestSchema } from '../../../src/model/manifest.ts';
import {
  decodeUp,
  encodeMessage,
  joinRequestBodySchema,
  joinRequestSchema,
  joinResponseSchema,
  joinResultSchema,
  messageBounds,
} from '../../../src/model/message.ts';
import { upKinds } from '../../../src/model/topics.ts';

import { upSamples } from './up-samples.ts';

/** A door at which bytes of strangers come in, with what an honest one sends there. */
export interface Target {
  readonly name: string;
  readonly samples: readonly Buffer[];
  /** Reads one input as the door does; returns or throws. */
  read(input: Buffer): unknown;
}

const hash = 'a'.repeat(64);

const joinSamples: readonly object[] = [
  { v: 1, body: '{"node":"a","csr":"AAAA"}', mac: 'x' },
  { node: 'a', csr: 'AAAA', labels: { a: 'b' }, profile: 'p' },
  { status: 'accepted', trustDomain: 'x', chain: 'c', roots: ['r'], signers: ['s'], time: 1 },
  { status: 'pending', retryAfterMs: 1 },
];

/** A broken input is refused by one of these, and by nothing else. */
export const expectedCodes: ReadonlySet<ErrorCode> = new Set(['INVALID_INPUT', 'TOO_LARGE', 'UNTRUSTED']);

/** What an input did that no input may do; undefined when it was read or refused as it should. */
export function misbehaviour(target: Target, input: Buffer): string | undefined {
  try {
    target.read(input);
    return undefined;
  } catch (error) {
    if (isMesoliteError(error) && expectedCodes.has(error.code)) return undefined;
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}

/** Reads with each of `readers`, so that one input meets every schema; the first that does not refuse it as expected is told. */
function each(readers: readonly ((input: Buffer) => unknown)[]): (input: Buffer) => void {
  return input => {
    for (const read of readers) {
      try {
        read(input);
      } catch (error) {
        if (!isMesoliteError(error) || !expectedCodes.has(error.code)) throw error;
      }
    }
  };
}

/** The four doors of the identity and of the wire. */
export function makeTargets(): readonly Target[] {
  const keys = generateKeyPair();
  const signer = makeEnvelopeSigner(keys.privateKey);
  const envelope = {
    kind: 'policy',
    subject: 'all',
    revision: 1,
    issuedAt: 1,
    expiresAt: 2,
    body: { documents: [] },
  } as const;
  const join = printJoinString({
    addresses: [
      { host: 'master.example', port: 8883 },
      { host: '::1', port: 1 },
    ],
    wssPort: 8443,
    rootSha256: hash,
    id: 'abc123',
    secret: Buffer.alloc(32, 1).toString('base64url'),
  });
  const json = [joinRequestSchema, joinRequestBodySchema, joinResponseSchema, joinResultSchema, manifestSchema];
  return [
    {
      name: 'CSR DER',
      samples: ['spiffe://x/node/a', 'spiffe://x/ns/default/sa/a'].map(uri => createRequest(uri, keys)),
      read: readRequest,
    },
    {
      name: 'MQTT payloads',
      samples: [...Object.values(upSamples), ...joinSamples].map(sample => encodeMessage(sample)),
      read: each([
        ...upKinds.map(kind => (input: Buffer) => decodeUp(kind, input)),
        ...json.map(schema => (input: Buffer) => decodeJson(schema, input, 'fuzz', messageBounds.join)),
      ]),
    },
    {
      name: 'envelopes',
      samples: [sealEnvelope(envelope, signer)],
      // also what lies behind the signature: as one sees it who has the key
      read: each([() => false, () => true].map(verify => input => openEnvelope(input, verify, messageBounds.down))),
    },
    {
      name: 'join strings',
      samples: [Buffer.from(join), Buffer.from(`${join}\n`)],
      read: input => parseJoinString(input.toString('utf8')),
    },
  ];
}

import * as v from 'valibot';
import { parseAddress } from '../base/match.ts';
import { nameSchema } from './ids.ts';

// The file of `mesolite policy test`: policies, and requests with the verdict that is expected of them.

const text = v.pipe(v.string(), v.maxLength(8192));
const texts = v.record(v.pipe(v.string(), v.maxLength(253)), text);
const address = v.pipe(
  v.string(),
  v.check(
    value => !('reason' in parseAddress(value)),
    ({ received }) => `expected an IP address, got ${received}`,
  ),
);

const callerSchema = v.pipe(
  v.strictObject({
    /** Of the certificate; a caller without one comes in plain text. */
    principal: v.optional(
      v.pipe(
        v.string(),
        v.regex(
          /^[^/:]+\/ns\/[^/]+\/sa\/[^/]+$/,
          ({ received }) => `expected <trust domain>/ns/<namespace>/sa/<service account>, got ${received}`,
        ),
      ),
    ),
    namespace: v.optional(text),
    ip: v.optional(address),
    remoteIp: v.optional(address),
  }),
  v.check(
    ({ principal, namespace }) =>
      principal === undefined || namespace === undefined || principal.split('/')[2] === namespace,
    'namespace is another than that of the principal',
  ),
);

const calledSchema = v.strictObject({
  namespace: v.optional(nameSchema, 'default'),
  labels: v.optional(texts, {}),
  ip: v.optional(address),
  port: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535))),
  sni: v.optional(text),
});

const requestSchema = v.strictObject({
  protocol: v.optional(v.picklist(['http', 'http2', 'grpc', 'tcp']), 'http'),
  method: v.optional(text),
  host: v.optional(text),
  path: v.optional(text),
  headers: v.optional(texts),
  /** Of a verified token. */
  claims: v.optional(v.record(v.string(), v.unknown())),
});

const question = {
  from: v.optional(callerSchema, {}),
  to: v.optional(calledSchema, {}),
  request: v.optional(requestSchema, {}),
};

/** Who calls whom, and how. */
export const questionSchema = v.strictObject(question);

const policyCaseSchema = v.strictObject({
  name: v.pipe(v.string(), v.minLength(1, 'expected a name that is not empty'), v.maxLength(1024)),
  ...question,
  expect: v.picklist(['allow', 'deny']),
});

/** The documents are decoded one by one, by their kinds. */
export const caseFileSchema = v.strictObject({
  policies: v.optional(v.array(v.unknown()), []),
  cases: v.pipe(v.array(policyCaseSchema), v.minLength(1, 'expected at least one case')),
});

export type Question = v.InferOutput<typeof questionSchema>;
/** One request, and what is expected to become of it. */
export type PolicyCase = v.InferOutput<typeof policyCaseSchema>;

import * as v from 'valibot';
import { unsupported } from '../base/shape.ts';
import { durationSchema } from './duration.ts';
import { nameSchema } from './ids.ts';

// Shapes of Istio's networking.istio.io/v1 DestinationRule (istio/api networking/v1alpha3/destination_rule.proto). What it means is in
// traffic/. A field that Istio has and Mesolite does not is refused with the nearest thing that works.

/** Istio's defaults for Maglev and for the ring. */
export const defaultMaglevSize = 65_537;
export const defaultRingSize = 1024;
/** No ring and no Maglev table is larger: 0.75 MB, built in well under a second on a small board. */
export const maxTableEntries = 131_071;

const word = v.pipe(v.string(), v.minLength(1, 'expected a text that is not empty'), v.maxLength(253));
const whole = (min: number, max: number) =>
  v.pipe(
    v.number(),
    v.integer(),
    v.minValue(min, `expected ${min} or more`),
    v.maxValue(max, `expected at most ${max}`),
  );
const count = v.optional(whole(0, 2 ** 32 - 1));
const percent = whole(0, 100);
const duration = v.optional(v.pipe(durationSchema, v.minValue(1, 'expected at least 1ms')));
const token = v.pipe(v.string(), v.regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/, 'expected a name of RFC 9110'));

function isPrime(number: number): boolean {
  for (let i = 2; i * i <= number; i++) if (number % i === 0) return false;
  return number > 1;
}

const cookieSchema = v.strictObject({
  name: token,
  path: v.optional(
    v.pipe(v.string(), v.regex(/^[\x21-\x3a\x3c-\x7e]{0,253}$/, 'expected a path without space or ";"')),
  ),
  /** Given: a client without the cookie is given one, for that long or for its session (0s). */
  ttl: v.optional(durationSchema),
  attributes: unsupported('the cookie has path, Max-Age and HttpOnly'),
});

const consistentHashSchema = v.pipe(
  v.strictObject({
    httpHeaderName: v.optional(token),
    httpCookie: v.optional(cookieSchema),
    useSourceIp: v.optional(v.boolean()),
    httpQueryParameterName: v.optional(word),
    ringHash: v.optional(v.strictObject({ minimumRingSize: v.optional(whole(1, maxTableEntries), defaultRingSize) })),
    maglev: v.optional(
      v.strictObject({
        tableSize: v.optional(
          v.pipe(whole(2, maxTableEntries), v.check(isPrime, 'expected a prime number')),
          defaultMaglevSize,
        ),
      }),
    ),
    minimumRingSize: unsupported('write ringHash.minimumRingSize'),
  }),
  v.check(
    ({ httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName }) =>
      [httpHeaderName, httpCookie, useSourceIp || undefined, httpQueryParameterName].filter(key => key !== undefined)
        .length === 1,
    'expected exactly one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName',
  ),
  v.check(({ ringHash, maglev }) => !(ringHash && maglev), 'expected ringHash or maglev, not both'),
);

const simple = ['UNSPECIFIED', 'LEAST_REQUEST', 'LEAST_CONN', 'RANDOM', 'ROUND_ROBIN'] as const;

const loadBalancerSchema = v.pipe(
  v.strictObject({
    simple: v.optional(
      v.picklist(simple, ({ received }) =>
        received === '"PASSTHROUGH"'
          ? 'not supported: calls go to the endpoints of a service; leave it out for LEAST_REQUEST'
          : `expected LEAST_REQUEST, RANDOM or ROUND_ROBIN, got ${received}`,
      ),
    ),
    consistentHash: v.optional(consistentHashSchema),
    warmup: v.optional(
      v.strictObject({
        duration: v.pipe(durationSchema, v.minValue(1000, 'expected at least 1s')),
        minimumPercent: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(100)), 10),
        aggression: v.optional(v.pipe(v.number(), v.minValue(1, 'expected 1 or more'), v.maxValue(1000)), 1),
      }),
    ),
    warmupDurationSecs: unsupported('write warmup.duration'),
    localityLbSetting: unsupported('endpoints have no locality; tell them apart by labels and subsets'),
  }),
  v.check(balancer => !(balancer.simple && balancer.consistentHash), 'expected simple or consistentHash, not both'),
  v.check(
    ({ simple: kind, consistentHash, warmup }) => !warmup || !(consistentHash || kind === 'RANDOM'),
    'warmup works with ROUND_ROBIN and LEAST_REQUEST alone',
  ),
);

const connectionPoolSchema = v.strictObject({
  tcp: v.optional(
    v.strictObject({
      maxConnections: count,
      connectTimeout: duration,
      tcpKeepalive: v.optional(
        v.strictObject({
          time: duration,
          probes: unsupported('it is 10; give time alone'),
          interval: unsupported('it is 1s; give time alone'),
        }),
      ),
      maxConnectionDuration: duration,
      idleTimeout: duration,
    }),
  ),
  http: v.optional(
    v.strictObject({
      http1MaxPendingRequests: count,
      http2MaxRequests: count,
      maxRequestsPerConnection: count,
      maxRetries: count,
      idleTimeout: duration,
      maxConcurrentStreams: count,
      h2UpgradePolicy: v.optional(v.picklist(['DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE'])),
      useClientProtocol: unsupported('agents choose by themselves what they speak with each other'),
    }),
  ),
});

const outlierDetectionSchema = v.strictObject({
  consecutive5xxErrors: count,
  consecutiveGatewayErrors: count,
  consecutiveLocalOriginFailures: count,
  splitExternalLocalOriginErrors: v.optional(v.boolean(), false),
  outlierDetectionHttpErrorCodes: v.optional(v.pipe(v.array(whole(400, 599)), v.maxLength(64))),
  interval: duration,
  baseEjectionTime: duration,
  maxEjectionPercent: v.optional(percent),
  minHealthPercent: v.optional(percent),
  consecutiveErrors: unsupported('write consecutive5xxErrors or consecutiveGatewayErrors'),
});

const certificates = 'the master issues the certificates of the mesh, and peers are known by their SPIFFE identity';

const tlsSchema = v.strictObject({
  mode: v.picklist(
    ['ISTIO_MUTUAL'],
    ({ received }) => `expected ISTIO_MUTUAL, got ${received}: calls between nodes are always mutual TLS`,
  ),
  clientCertificate: unsupported(certificates),
  privateKey: unsupported(certificates),
  caCertificates: unsupported(certificates),
  credentialName: unsupported(certificates),
  subjectAltNames: unsupported(certificates),
  sni: unsupported(certificates),
  insecureSkipVerify: unsupported(certificates),
  caCrl: unsupported('revoke a certificate with `mesolite revoke`'),
});

const trafficPolicySchema = v.strictObject({
  loadBalancer: v.optional(loadBalancerSchema),
  connectionPool: v.optional(connectionPoolSchema),
  outlierDetection: v.optional(outlierDetectionSchema),
  tls: v.optional(tlsSchema),
  retryBudget: v.optional(
    v.strictObject({
      percent: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(100)), 20),
      minRetryConcurrency: v.optional(whole(0, 2 ** 32 - 1), 3),
      budgetInterval: unsupported('the budget is of the requests that are under way; leave it out'),
    }),
  ),
  portLevelSettings: unsupported('a service has one port: say it in trafficPolicy itself'),
  tunnel: unsupported('calls go from node to node'),
  proxyProtocol: unsupported('the called one knows its caller from x-forwarded-client-cert'),
});

const subsetSchema = v.strictObject({
  name: nameSchema,
  labels: v.optional(v.pipe(v.record(word, v.pipe(v.string(), v.maxLength(253))), v.maxEntries(64)), {}),
  trafficPolicy: v.optional(trafficPolicySchema),
});

export const destinationRuleSpecSchema = v.strictObject({
  host: word,
  trafficPolicy: v.optional(trafficPolicySchema),
  subsets: v.optional(
    v.pipe(
      v.array(subsetSchema),
      v.maxLength(512),
      v.check(subsets => new Set(subsets.map(({ name }) => name)).size === subsets.length, 'two subsets have one name'),
    ),
    [],
  ),
  exportTo: v.optional(
    v.pipe(
      v.array(
        v.picklist(
          ['.', '*'],
          ({ received }) =>
            `expected "." (this namespace) or "*" (all), got ${received}: write a rule for each namespace`,
        ),
      ),
      v.maxLength(2),
    ),
  ),
  workloadSelector: unsupported("put the rule into its callers' namespace: there it holds for them alone"),
});

export type DestinationRuleSpec = v.InferOutput<typeof destinationRuleSpecSchema>;
export type TrafficPolicy = v.InferOutput<typeof trafficPolicySchema>;

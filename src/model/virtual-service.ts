import * as v from 'valibot';
import { secondMs } from '../base/clock.ts';
import { unsupported } from '../base/shape.ts';
import { durationSchema } from './duration.ts';
import { nameSchema } from './ids.ts';

// Shapes of Istio's networking.istio.io/v1 VirtualService (istio/api networking/v1alpha3/virtual_service.proto), its http part. What is
// refused says what to write instead. The meaning is in traffic/.

const word = v.pipe(v.string(), v.minLength(1, 'expected a text that is not empty'), v.maxLength(2048));
const text = v.pipe(v.string(), v.maxLength(2048));
const portNumber = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));

/** As Envoy's virtual hosts: so many items are looked at one after another for each request. */
const maxRoutes = 256;
const maxMatches = 64;
/** A request is never held back for longer than a stream may be idle. */
const maxDelayMs = 240 * secondMs;
const maxAttempts = 25;
/** Envoy's `max_direct_response_body_size_bytes`. */
const maxDirectBody = 4096;

const stringMatchFields = { exact: v.optional(text), prefix: v.optional(word), regex: v.optional(word) };

const stringMatchSchema = v.pipe(
  v.strictObject(stringMatchFields),
  v.check(match => Object.keys(match).length === 1, 'expected exactly one of exact, prefix and regex'),
);

/** `{}` asks only for the presence. */
const presenceMatchSchema = v.pipe(
  v.strictObject(stringMatchFields),
  v.check(match => Object.keys(match).length <= 1, 'expected at most one of exact, prefix and regex'),
);

const presenceMatches = v.optional(v.pipe(v.record(word, presenceMatchSchema), v.maxEntries(32)));
const optionalMatch = v.optional(stringMatchSchema);
const meshGateway = v.optional(
  v.array(v.literal('mesh', 'only "mesh" is carried out: for clients outside of it publish a port of the job')),
);

const matchSchema = v.strictObject({
  name: v.optional(text),
  uri: optionalMatch,
  ignoreUriCase: v.optional(v.boolean(), false),
  scheme: optionalMatch,
  method: optionalMatch,
  authority: optionalMatch,
  headers: presenceMatches,
  withoutHeaders: presenceMatches,
  queryParams: presenceMatches,
  port: v.optional(portNumber),
  sourceLabels: v.optional(v.record(word, text)),
  sourceNamespace: v.optional(nameSchema),
  gateways: meshGateway,
  statPrefix: unsupported('there are no statistics of single routes: leave it out'),
});

const headerValues = v.optional(v.pipe(v.record(word, text), v.maxEntries(64)));
const headerOperationsSchema = v.optional(
  v.strictObject({
    set: headerValues,
    add: headerValues,
    remove: v.optional(v.pipe(v.array(word), v.maxLength(64))),
  }),
);
const headersSchema = v.optional(v.strictObject({ request: headerOperationsSchema, response: headerOperationsSchema }));

const destinationSchema = v.strictObject({
  host: word,
  subset: v.optional(word),
  port: v.optional(v.strictObject({ number: portNumber })),
});

const percentageSchema = v.strictObject({
  value: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(100, 'expected a percentage of at most 100')), 0),
});

const routeDestinationSchema = v.strictObject({
  destination: destinationSchema,
  weight: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1_000_000))),
  headers: headersSchema,
});

const redirectSchema = v.strictObject({
  uri: v.optional(word),
  authority: v.optional(word),
  port: v.optional(portNumber),
  derivePort: v.optional(v.picklist(['FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT'])),
  scheme: v.optional(v.picklist(['http', 'https'])),
  redirectCode: v.optional(v.picklist([301, 302, 303, 307, 308]), 301),
});

const directResponseSchema = v.strictObject({
  status: v.pipe(v.number(), v.integer(), v.minValue(200), v.maxValue(599)),
  body: v.optional(
    v.pipe(
      v.strictObject({
        string: v.optional(v.pipe(v.string(), v.maxBytes(maxDirectBody))),
        bytes: v.optional(v.pipe(v.string(), v.base64(), v.maxLength((maxDirectBody / 3) * 4 + 4))),
      }),
      v.check(body => Object.keys(body).length === 1, 'expected exactly one of string and bytes'),
    ),
  ),
});

const rewriteSchema = v.pipe(
  v.strictObject({
    uri: v.optional(word),
    authority: v.optional(word),
    uriRegexRewrite: v.optional(
      v.strictObject({ match: word, rewrite: v.pipe(v.string(), v.maxLength(256, 'expected at most 256 characters')) }),
    ),
  }),
  v.check(rewrite => Object.keys(rewrite).length > 0, 'expected at least one of uri, authority and uriRegexRewrite'),
  v.check(
    ({ uri, uriRegexRewrite }) => uri === undefined || uriRegexRewrite === undefined,
    'uri and uriRegexRewrite exclude each other',
  ),
);

const retriesSchema = v.strictObject({
  attempts: v.optional(
    v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(maxAttempts, `expected at most ${maxAttempts}`)),
    2,
  ),
  perTryTimeout: v.optional(durationSchema),
  retryOn: v.optional(text),
  retryIgnorePreviousHosts: v.optional(v.boolean(), true),
  backoff: v.optional(durationSchema),
  retryRemoteLocalities: unsupported('there are no localities: leave it out'),
});

const percentOld = unsupported('write percentage: {value: …}');

const faultSchema = v.pipe(
  v.strictObject({
    delay: v.optional(
      v.strictObject({
        fixedDelay: v.pipe(durationSchema, v.minValue(1), v.maxValue(maxDelayMs, 'expected at most 4m')),
        percentage: v.optional(percentageSchema),
        percent: percentOld,
        exponentialDelay: unsupported('write fixedDelay'),
      }),
    ),
    abort: v.optional(
      v.strictObject({
        httpStatus: v.pipe(v.number(), v.integer(), v.minValue(200), v.maxValue(599)),
        percentage: v.optional(percentageSchema),
        grpcStatus: unsupported('write httpStatus: gRPC clients make their status of it (503: UNAVAILABLE)'),
        http2Error: unsupported('write httpStatus'),
      }),
    ),
  }),
  v.check(fault => Object.keys(fault).length > 0, 'expected at least one of delay and abort'),
);

const corsPolicySchema = v.strictObject({
  allowOrigins: v.pipe(v.array(stringMatchSchema), v.minLength(1), v.maxLength(64)),
  allowMethods: v.optional(v.pipe(v.array(word), v.maxLength(64))),
  allowHeaders: v.optional(v.pipe(v.array(word), v.maxLength(64))),
  exposeHeaders: v.optional(v.pipe(v.array(word), v.maxLength(64))),
  maxAge: v.optional(durationSchema),
  allowCredentials: v.optional(v.boolean(), false),
  unmatchedPreflights: v.optional(v.picklist(['UNSPECIFIED', 'FORWARD', 'IGNORE']), 'UNSPECIFIED'),
  allowOrigin: unsupported('write allowOrigins: [{exact: …}]'),
});

const httpRouteSchema = v.pipe(
  v.strictObject({
    name: v.optional(v.pipe(v.string(), v.maxLength(128))),
    match: v.optional(v.pipe(v.array(matchSchema), v.maxLength(maxMatches))),
    route: v.optional(v.pipe(v.array(routeDestinationSchema), v.minLength(1), v.maxLength(32))),
    redirect: v.optional(redirectSchema),
    directResponse: v.optional(directResponseSchema),
    rewrite: v.optional(rewriteSchema),
    timeout: v.optional(durationSchema, '0s'),
    retries: v.optional(retriesSchema),
    fault: v.optional(faultSchema),
    mirror: v.optional(destinationSchema),
    mirrorPercentage: v.optional(percentageSchema),
    mirrors: v.optional(
      v.pipe(
        v.array(v.strictObject({ destination: destinationSchema, percentage: v.optional(percentageSchema) })),
        v.maxLength(4),
      ),
    ),
    corsPolicy: v.optional(corsPolicySchema),
    headers: headersSchema,
    delegate: unsupported('write the routes of the delegate here'),
    mirrorPercent: unsupported('write mirrorPercentage: {value: …}'),
    mirror_percent: unsupported('write mirrorPercentage: {value: …}'),
  }),
  v.check(
    http => [http.route, http.redirect, http.directResponse].filter(action => action !== undefined).length === 1,
    'expected exactly one of route, redirect and directResponse',
  ),
);

const tcpAdvice = 'only http routes are carried out: a TCP service is called at its own port';

export const virtualServiceSpecSchema = v.strictObject({
  hosts: v.pipe(v.array(word), v.minLength(1, 'expected at least one host'), v.maxLength(64)),
  gateways: meshGateway,
  http: v.pipe(v.array(httpRouteSchema), v.minLength(1, 'expected at least one route'), v.maxLength(maxRoutes)),
  tcp: unsupported(tcpAdvice),
  tls: unsupported(tcpAdvice),
  exportTo: v.optional(
    v.array(v.picklist(['.', '*'], 'only "." (the own namespace) and "*" (all) are carried out: leave it out for all')),
  ),
});

export type VirtualServiceSpec = v.InferOutput<typeof virtualServiceSpecSchema>;
export type HttpRoute = v.InferOutput<typeof httpRouteSchema>;
export type HttpMatch = v.InferOutput<typeof matchSchema>;
export type StringMatch = v.InferOutput<typeof presenceMatchSchema>;
export type HeaderOperations = NonNullable<v.InferOutput<typeof headerOperationsSchema>>;
export type RouteDestination = v.InferOutput<typeof routeDestinationSchema>;
export type DestinationRef = v.InferOutput<typeof destinationSchema>;
export type Retries = v.InferOutput<typeof retriesSchema>;
export type CorsPolicySpec = v.InferOutput<typeof corsPolicySchema>;

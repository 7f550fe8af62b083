import t from 'tap';
import { isMesoliteError } from '../../src/base/errors.ts';
import { decodeDocument } from '../../src/model/document.ts';
import { compileRegex } from '../../src/traffic/regex.ts';
import { checkVirtualService } from '../../src/traffic/route-check.ts';

const route = [{ destination: { host: 'web' } }];

function check(spec: object) {
  const document = decodeDocument(
    { apiVersion: 'networking.istio.io/v1beta1', kind: 'VirtualService', metadata: { name: 'v' }, spec },
    'v.yaml',
  );
  if (document.kind !== 'VirtualService') throw new TypeError(document.kind);
  return checkVirtualService(document, compileRegex);
}

/** All that is said of one http route, whoever says it. */
function problemsOf(spec: object): string {
  try {
    return check(spec).errors.join('\n');
  } catch (error) {
    if (isMesoliteError(error)) return error.message;
    throw error;
  }
}

const http = (part: object) => ({ hosts: ['web'], http: [{ route, ...part }] });
const match = (part: object) => http({ match: [part] });

t.test('what is not carried out is refused, with its path and what to do instead', async t => {
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ hosts: ['web'] }, /spec\.http: required, but missing/],
    [{ hosts: [], http: [{ route }] }, /spec\.hosts: expected at least one host/],
    [
      { hosts: ['example.com'], http: [{ route }] },
      /spec\.hosts\[0\]: expected a service: <service>.* got "example.com"/,
    ],
    [{ hosts: ['*'], http: [{ route }] }, /spec\.hosts\[0\]: expected a service/],
    [{ ...http({}), tcp: [] }, /spec\.tcp: not supported: only http routes are carried out/],
    [{ ...http({}), tls: [] }, /spec\.tls: not supported: only http routes/],
    [{ ...http({}), gateways: ['bookinfo'] }, /spec\.gateways\[0\]: only "mesh" is carried out/],
    [{ ...http({}), exportTo: ['shop'] }, /spec\.exportTo\[0\]: only "\."/],
    [
      http({ delegate: { name: 'x' } }),
      /spec\.http\[0\]\.delegate: not supported: write the routes of the delegate here/,
    ],
    [http({ retires: {} }), /spec\.http\[0\]\.retires: unknown field/],
    [http({ redirect: { uri: '/' } }), /spec\.http\[0\]: expected exactly one of route, redirect and directResponse/],
    [http({ route: [] }), /spec\.http\[0\]\.route/],
    [
      http({ route: [{ destination: { host: 'a.b' } }] }),
      /spec\.http\[0\]\.route\[0\]\.destination\.host: expected a service/,
    ],
    [http({ route: [...route, ...route] }), /spec\.http\[0\]\.route: no destination has a weight/],
    [match({ uri: { exact: '/', prefix: '/' } }), /match\[0\]\.uri: expected exactly one of exact, prefix and regex/],
    [match({ uri: {} }), /match\[0\]\.uri: expected exactly one/],
    [match({ uri: { regex: '(a' } }), /match\[0\]\.uri\.regex: not a regular expression of RE2: .*missing closing/],
    [match({ uri: { regex: '(?=a)' } }), /match\[0\]\.uri\.regex: not a regular expression of RE2/],
    [match({ headers: { a: { regex: '(a{90}){10}' } } }), /match\[0\]\.headers\.a\.regex: .*too large/],
    [match({ headers: { ':path': {} } }), /:path is a pseudo header/],
    [match({ gateways: ['x'] }), /match\[0\]\.gateways\[0\]: only "mesh"/],
    [match({ statPrefix: 'x' }), /match\[0\]\.statPrefix: not supported: there are no statistics/],
    [http({ rewrite: {} }), /rewrite: expected at least one of/],
    [http({ rewrite: { uri: 'a' } }), /rewrite\.uri: expected a path/],
    [http({ rewrite: { uri: '/a b' } }), /rewrite\.uri: expected a path/],
    [http({ rewrite: { uri: '/a?b' } }), /rewrite\.uri: a query cannot be written/],
    [http({ rewrite: { authority: 'a/b' } }), /rewrite\.authority: expected a host/],
    [http({ rewrite: { uri: '/', uriRegexRewrite: { match: 'a', rewrite: 'b' } } }), /uri and uriRegexRewrite exclude/],
    [http({ rewrite: { uriRegexRewrite: { match: 'a', rewrite: '\\x' } } }), /uriRegexRewrite\.rewrite: behind a "\\"/],
    [http({ timeout: '5' }), /timeout: expected a duration/],
    [http({ retries: { attempts: 26 } }), /retries\.attempts: expected at most 25/],
    [http({ retries: { retryOn: '5xx,often' } }), /retries\.retryOn: "often" is no condition/],
    [
      http({ retries: { retryRemoteLocalities: true } }),
      /retryRemoteLocalities: not supported: there are no localities/,
    ],
    [http({ fault: { delay: { fixedDelay: '1h' } } }), /fault\.delay\.fixedDelay: expected at most 4m/],
    [
      http({ fault: { delay: { fixedDelay: '1s', percent: 5 } } }),
      /fault\.delay\.percent: not supported: write percentage/,
    ],
    [
      http({ fault: { abort: { grpcStatus: 'UNAVAILABLE' } } }),
      /fault\.abort\.grpcStatus: not supported: write httpStatus/,
    ],
    [
      http({ headers: { request: { set: { host: 'x' } } } }),
      /headers\.request\.set: "host" may not be changed: write rewrite/,
    ],
    [
      http({ headers: { response: { remove: ['Content-Length'] } } }),
      /headers\.response\.remove: "Content-Length" may not/,
    ],
    [
      http({ headers: { request: { add: { a: 'b\r\nc: d' } } } }),
      /headers\.request\.add: "a" has a value with control/,
    ],
    [http({ headers: { request: { add: { 'a b': 'c' } } } }), /"a b" is no name of a header/],
    [http({ headers: { request: { add: { 'x-forwarded-client-cert': 'c' } } } }), /only the proxy knows/],
    [http({ headers: { request: { set: { a: '%REQ(:path)%' } } } }), /variables are not supported/],
    [http({ headers: { request: { add: { transfer_encoding: 'c' } } } }), /"transfer_encoding" is no name of a header/],
    [
      http({ corsPolicy: { allowOrigin: ['*'], allowOrigins: [{ exact: '*' }] } }),
      /corsPolicy\.allowOrigin: not supported: write allowOrigins/,
    ],
    [http({ corsPolicy: { allowOrigins: [{ exact: '*' }], allowHeaders: ['a\r\nb'] } }), /corsPolicy: .* is no name/],
    [
      { hosts: ['web'], http: [{ directResponse: { status: 200 }, timeout: '1s' }] },
      /http\[0\]\.timeout: a directResponse answers by itself/,
    ],
    [
      { hosts: ['web'], http: [{ directResponse: { status: 200, body: { string: 'ü'.repeat(2049) } } }] },
      /directResponse\.body\.string/,
    ],
    [
      { hosts: ['web'], http: [{ redirect: { uri: '/' }, mirror: { host: 'a' } }] },
      /http\[0\]\.mirror: a redirect answers by itself/,
    ],
    [{ hosts: ['web'], http: [{ redirect: { redirectCode: 200 } }] }, /redirect\.redirectCode/],
  ];
  for (const [spec, reason] of cases) t.match(problemsOf(spec), reason);
});

t.test('what hardly means what it says is taken with a warning', async t => {
  const { errors, warnings } = check({
    hosts: ['web'],
    http: [
      {
        route: [{ destination: { host: 'web', port: { number: 80 } } }],
        fault: { abort: { httpStatus: 500 } },
        timeout: '1s',
      },
      { match: [{ name: 'all' }], route, fault: { delay: { fixedDelay: '1s' } } },
    ],
  });
  t.same(errors, []);
  t.same(warnings, [
    'spec.http[0]: takes every request, so that the routes behind it are never reached',
    'spec.http[0].fault.abort.percentage: not given, so no request is aborted',
    'spec.http[0].fault: timeout and retries of a route with a fault are not applied, as in Istio',
    'spec.http[0]: destination.port is not looked at: a service has exactly one port',
    'spec.http[1].fault.delay.percentage: not given, so no request is delayed',
  ]);
});

import t from 'tap';
import {
  compileRetries,
  retriesFailure,
  retriesStatus,
  retryDelayMs,
  unknownConditions,
} from '../../src/traffic/retry.ts';

const policy = (retryOn?: string, more = {}) => {
  const made = compileRetries({
    attempts: 2,
    retryIgnorePreviousHosts: true,
    ...(retryOn !== undefined && { retryOn }),
    ...more,
  });
  if (made === undefined) throw new TypeError('no retries');
  return made;
};

t.test('without a word of retries, and without a word of what, Istio’s default holds', async t => {
  for (const made of [compileRetries(undefined), policy()]) {
    if (made === undefined) throw new TypeError('no retries');
    t.equal(made.attempts, 2);
    t.ok(retriesFailure(made, 'connect-failure'));
    t.ok(retriesFailure(made, 'refused-stream'));
    t.notOk(retriesFailure(made, 'reset'));
    t.notOk(retriesStatus(made, 503, undefined, false, false));
    t.ok(retriesStatus(made, 200, '14', false, false), 'gRPC UNAVAILABLE');
    t.ok(retriesStatus(made, 200, '1', false, false), 'gRPC CANCELLED');
    t.notOk(retriesStatus(made, 200, '4', false, false));
  }
  t.equal(compileRetries({ attempts: 0, retryIgnorePreviousHosts: true }), undefined);
});

t.test('each condition stands for what Envoy takes it for', async t => {
  const statuses = [400, 409, 429, 500, 501, 502, 503, 504, 505];
  const retried = (retryOn: string) =>
    statuses.filter(status => retriesStatus(policy(retryOn), status, undefined, false, false));
  t.same(retried('5xx'), [500, 501, 502, 503, 504, 505]);
  t.same(retried('gateway-error'), [502, 503, 504]);
  t.same(retried('retriable-4xx'), [409]);
  t.same(retried('connect-failure, 429,501'), [429, 501]);
  t.same(retried('reset'), []);
  t.ok(['5xx', 'gateway-error', 'reset'].every(each => retriesFailure(policy(each), 'reset')));
  t.notOk(retriesFailure(policy('connect-failure'), 'reset'));
  t.notOk(retriesStatus(policy('5xx'), 503, undefined, true, false), 'overloaded');
  t.notOk(retriesStatus(policy('5xx,429'), 429, undefined, false, true), 'rate limited');
  t.ok(retriesStatus(policy('envoy-ratelimited'), 429, undefined, false, true));
  t.same(unknownConditions('5xx, 503,sometimes,99,,retriable-status-codes'), ['sometimes', '99']);
});

t.test('a back-off is drawn from 0 to a ceiling that doubles, up to ten times the base', async t => {
  const most = (retry: number, backoff?: string) =>
    retryDelayMs(policy('5xx', backoff && { backoff: 100 }), retry, () => 0.999_999);
  t.same(
    [1, 2, 3, 4, 25].map(retry => most(retry)),
    [24, 74, 174, 249, 249],
  );
  t.equal(most(1, '100ms'), 99);
  t.equal(
    retryDelayMs(policy(), 3, () => 0),
    0,
  );
});

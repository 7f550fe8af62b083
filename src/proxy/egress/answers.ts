import { meshDomain } from '../../model/service.ts';
import { type LocalAnswer, makeAnswer } from '../respond.ts';

// What a task is told of calls that go nowhere.

export const notAProxyRequest = makeAnswer(
  400,
  'this is an HTTP proxy: expected a whole address as the request target, as in GET http://web.default.mesh/',
  'DPE',
);
export const whoAreYou = makeAnswer(
  407,
  "expected the task's own credential: use the address in its HTTP_PROXY variable as it is",
  '-',
  'proxy-authenticate: Basic realm="mesolite"\r\n',
);
export const tasksUnknown = makeAnswer(
  503,
  'this node knows none of its tasks: it has just started',
  '-',
  'retry-after: 1\r\n',
);
export const misdirected = makeAnswer(421, 'this connection leads to one service, and the request names another', 'NR');
export const callerHasEnded = makeAnswer(503, 'the task that this connection belongs to has ended', 'NR');
export const tooManyConnections = makeAnswer(
  503,
  'this task has as many connections to the proxy as one task may have: close some, or send several requests on each',
  'UO',
  'x-envoy-overloaded: true\r\n',
);

export function speaksTcp(key: string): LocalAnswer {
  return makeAnswer(
    400,
    `${key} speaks plain TCP: reach it by CONNECT, or by a localPort of the job's upstreams`,
    'NR',
  );
}

export function notInMesh(authority: string): LocalAnswer {
  const expected = `<service> or <service>.<namespace>.${meshDomain}`;
  return makeAnswer(403, `${authority} is not a host of the mesh: expected ${expected}`, 'NR');
}

export function notDeclared(key: string): LocalAnswer {
  return makeAnswer(404, `${key} is not among the upstreams that this task's job declares`, 'NR');
}

export function notYetKnown(key: string, subset = ''): LocalAnswer {
  const what = subset === '' ? key : `subset ${subset} of ${key}`;
  return makeAnswer(503, `nothing is known of ${what} yet: no healthy upstream`, 'UH');
}

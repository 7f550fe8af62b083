import type { Socket } from 'node:net';
import { get, type RequestCase, type ResponseCase, type Verdict } from './case.ts';
import type { Origin } from './origin.ts';
import { type Kind, type Message, type Messages, readMessages, strict, styles, valuesOf } from './reader.ts';

/** A proxy with the application behind it. */
export interface Door {
  readonly name: string;
  readonly origin: Origin;
  connect(): Promise<Socket>;
  /** How long it may be silent before no more is expected of it; absent: until it closes, as ours must. */
  readonly quietMs?: number;
}

export interface Outcome {
  readonly verdict: Verdict;
  /** What must not be, one sentence each. */
  readonly breaches: readonly string[];
}

const closing = (target: string) => `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
/** The last request on the connection of a case, and one of somebody else afterwards. */
const tail = closing('/tail');
const after = closing('/after');

/** Sends a case and what follows it; says what the proxy did, and where origin and client do not see the same. `torn`: byte by byte. */
export async function tryRequest(door: Door, trial: RequestCase, torn = false): Promise<Outcome> {
  const { origin } = door;
  await origin.forget();
  const answers = await ask(door, trial.bytes + tail, torn);
  const forwarded = origin.streams.join('');
  const next = await ask(door, after);
  const passed = answers.messages.some(answer => isForwarded(answer) && !isFor(answer, '/tail'));
  const breaches = [
    ...seenAsAnswered(origin, [...answers.messages, ...next.messages]),
    ...readAlike(origin.streams, () => 'request'),
    ...answersOneself(next),
    ...(passed ? passedWhole(trial, origin, answers) : nothingPassed(origin)),
  ];
  return { verdict: passed ? verdictOf(trial, forwarded.replace(/GET \/tail[\s\S]*/, '')) : 'refused', breaches };
}

/** As `tryRequest`, where it is the application that sends odd bytes. */
export async function tryResponse(door: Door, trial: ResponseCase): Promise<Outcome> {
  const { origin } = door;
  const request = trial.request ?? get();
  await origin.forget();
  origin.script = trial;
  const alone = trial.early === true || trial.afterwards !== undefined;
  const answers = await ask(door, alone ? request : request + tail);
  if (trial.afterwards !== undefined) await origin.sayUnasked(trial.afterwards);
  const next = await ask(door, after);
  const [first, second] = answers.messages;
  const passed = first !== undefined && isFor(first, '/case');
  const breaches = [
    ...answersOneself(next),
    ...readAlike([answers.text], kindsFor(request)),
    ...when(answers.rest === 'malformed', 'the client got bytes that are no response'),
    ...when(/injected/.test(answers.text), 'a response that nobody asked for was passed on'),
    ...when(
      second !== undefined && !isFor(second, '/tail') && isForwarded(second),
      'the second request got the answer of another',
    ),
    ...when(answers.messages.length > (alone ? 1 : 2), 'there were more answers than requests'),
  ];
  return { verdict: passed ? verdictOf(trial, answers.text) : 'refused', breaches };
}

function verdictOf({ odd }: RequestCase | ResponseCase, passed: string): Verdict {
  const isThere = typeof odd === 'string' ? passed.includes(odd) : odd.test(passed);
  return isThere ? 'as is' : 'canonical';
}

interface Answers extends Messages {
  readonly text: string;
}

/** What comes back for `bytes`, without the answers of status 1xx. */
async function ask(door: Door, bytes: string, torn = false): Promise<Answers> {
  const [text, ended] = await talk(door, bytes, torn);
  const { messages, rest } = readMessages(text, strict, kindsFor(bytes), ended);
  return { text, rest, messages: messages.filter(answer => !isInformational(answer)) };
}

/** Of the first request only is it told whether it is HEAD: no case has one behind another. */
function kindsFor(bytes: string): (before: readonly Message[]) => Kind {
  const first: Kind = bytes.startsWith('HEAD ') ? 'response to HEAD' : 'response';
  return before => (before.every(isInformational) ? first : 'response');
}

async function talk(door: Door, bytes: string, torn: boolean): Promise<readonly [received: string, ended: boolean]> {
  const socket = await door.connect();
  let received = '';
  socket.setEncoding('latin1');
  socket.on('error', () => {});
  return new Promise(resolve => {
    let timer: NodeJS.Timeout | undefined;
    const settle = () => {
      if (door.quietMs === undefined) return;
      clearTimeout(timer);
      timer = setTimeout(() => {
        resolve([received, false]);
        socket.destroy();
      }, door.quietMs);
    };
    socket.on('data', (piece: string) => {
      received += piece;
      settle();
    });
    socket.on('close', () => {
      clearTimeout(timer);
      resolve([received, true]);
    });
    settle();
    if (!torn) socket.write(bytes, 'latin1');
    else writeTorn(socket, bytes, 0);
  });
}

/** Each byte in a turn of its own. */
function writeTorn(socket: Socket, bytes: string, at: number): void {
  if (at === bytes.length || socket.destroyed) return;
  socket.write(bytes.slice(at, at + 1), 'latin1', () => writeTorn(socket, bytes, at + 1));
}

function isInformational(answer: Message): boolean {
  return / 1\d\d( |$)/.test(answer.start);
}

/** Did the origin answer? What a proxy says itself has no number. */
function isForwarded(answer: Message): boolean {
  return valuesOf(answer, 'x-number').length > 0;
}

function isFor(answer: Message, target: string): boolean {
  return valuesOf(answer, 'x-for').includes(target);
}

function when(holds: boolean, breach: string): readonly string[] {
  return holds ? [breach] : [];
}

/** The requests that the origin saw are exactly those that were answered. */
function seenAsAnswered(origin: Origin, answers: readonly Message[]): readonly string[] {
  const seen = origin.requests.map((_, index) => String(index + 1)).join(' ');
  const answered = answers.flatMap(answer => valuesOf(answer, 'x-number')).join(' ');
  return [
    ...when(seen !== answered, `the origin saw the requests [${seen}], the clients got the answers [${answered}]`),
    ...when(origin.malformed > 0, 'the origin saw bytes that are no request'),
  ];
}

/** Whoever reads the bytes, in whatever style, sees the same messages. */
function readAlike(streams: readonly string[], kindOf: (before: readonly Message[]) => Kind): readonly string[] {
  const gist = (messages: readonly Message[]) =>
    messages.map(({ start, body }) => `${start} ${body.length}`).join('\n');
  return streams.flatMap(text => {
    const wanted = gist(readMessages(text, strict, kindOf, true).messages);
    const others = styles.filter(style => gist(readMessages(text, style, kindOf, true).messages) !== wanted);
    return others.map(({ name }) => `a program sees something else: ${name}`);
  });
}

function answersOneself(next: Messages): readonly string[] {
  const [answer] = next.messages;
  const own = next.messages.length === 1 && next.rest === 'nothing' && answer !== undefined && isFor(answer, '/after');
  return when(!own, 'the next client did not get its own answer');
}

function passedWhole(
  { body = 0, requests = 1, last = false }: RequestCase,
  origin: Origin,
  answers: Messages,
): readonly string[] {
  const seen = String(origin.requests.slice(0, requests).map(request => request.body.length));
  const meant = String(Array.from({ length: requests }, () => body));
  const final = answers.messages.at(-1);
  return [
    ...when(seen !== meant, `bodies of ${seen} bytes were seen, ${meant} were meant`),
    ...when(
      !last && (final === undefined || !isFor(final, '/tail')),
      'the request behind it did not get its own answer',
    ),
  ];
}

function nothingPassed(origin: Origin): readonly string[] {
  return when(origin.requests.length > 1, 'the origin saw a request where one was refused');
}

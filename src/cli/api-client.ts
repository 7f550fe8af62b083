import { readFileSync, statSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import type * as v from 'valibot';
import { errorCodeOf, MesoliteError, messageOf } from '../base/errors.ts';
import { type Bounds, decodeJson } from '../base/shape.ts';
import { errorAnswerSchema, removeResultSchema } from '../model/api.ts';
import { type OutputFrame, outputFrameSchema } from '../model/output.ts';
import type { Context } from './contexts.ts';
import { unreadable } from './file-words.ts';

/** The master's HTTP API. Each call throws what the master refused, or UNAVAILABLE, TIMED_OUT or UNTRUSTED with what to do. */
export interface ApiClient {
  readonly server: string;
  get<S extends v.GenericSchema>(path: string, schema: S): Promise<v.InferOutput<S>>;
  post<S extends v.GenericSchema>(path: string, body: unknown, schema: S): Promise<v.InferOutput<S>>;
  /** `post` of bytes as they come, which may take its time. */
  push<S extends v.GenericSchema>(path: string, bytes: Readable, schema: S): Promise<v.InferOutput<S>>;
  put<S extends v.GenericSchema>(path: string, body: unknown, schema: S): Promise<v.InferOutput<S>>;
  delete<S extends v.GenericSchema>(path: string, schema: S): Promise<v.InferOutput<S>>;
  /** Hands on each line of an answer that goes on, until it ends; throws what the last line says, and TIMED_OUT when nothing comes any more. */
  stream(method: 'GET' | 'POST', path: string, onFrame: (frame: OutputFrame) => void, body?: unknown): Promise<void>;
  /** Server-sent events as they come, until the shell's signal aborts; throws UNAVAILABLE when the master ends them. */
  watch<S extends v.GenericSchema>(path: string, schema: S, onEvent: (event: v.InferOutput<S>) => void): Promise<void>;
  /** `delete` of what is answered like a document. */
  remove(path: string): Promise<v.InferOutput<typeof removeResultSchema>>;
}

const callTimeoutMs = 30_000;
/** A master that streams says something every ten seconds. */
const silentMs = 40_000;
const frameBounds: Bounds = { maxBytes: 1024 * 1024, maxDepth: 8 };
/** The disk of a small master takes a while to have all of it. */
const pushIdleMs = 120_000;
const maxSecretFileBytes = 64 * 1024;
/** A list of 100,000 tasks fits. */
const answerBounds: Bounds = { maxBytes: 128 * 1024 * 1024, maxDepth: 24 };

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** A body is sent as JSON, or as the bytes that it streams. */
type Call = (method: string, path: string, body?: unknown) => Promise<Answer>;

/** Reads the context's files; nothing is sent before a call. */
export function makeApiClient(context: Context, signal: AbortSignal): ApiClient {
  const ca = readSmallFile(context.ca, 'the CA of the context');
  const token = readSmallFile(context.tokenFile, 'the token of the context').trim();
  const options = { ca, headers: { accept: 'application/json', authorization: `Bearer ${token}` } };
  const call: Call = async (method, path, body) => {
    const answer = await exchange(context, { ...options, method }, path, body, signal);
    if (answer.status >= 200 && answer.status < 300) return answer;
    throw refusal(context, answer);
  };
  const read = <S extends v.GenericSchema>({ text }: Answer, schema: S) =>
    decodeJson(schema, text, `the answer of ${context.server}`, answerBounds);
  return {
    server: context.server,
    get: async (path, schema) => read(await call('GET', path), schema),
    post: async (path, body, schema) => read(await call('POST', path, body), schema),
    push: async (path, bytes, schema) => read(await call('POST', path, bytes), schema),
    put: async (path, body, schema) => read(await call('PUT', path, body), schema),
    async watch(path, schema, onEvent) {
      await watchEvents(context, { ...options, method: 'GET' }, path, signal, text => {
        onEvent(decodeJson(schema, text, `an event of ${context.server}`, answerBounds));
      });
      if (!signal.aborted) throw new MesoliteError('UNAVAILABLE', `${context.server} has ended the events`);
    },
    delete: async (path, schema) => read(await call('DELETE', path), schema),
    stream: (method, path, onFrame, body) => stream(context, { ...options, method }, path, { body, onFrame }, signal),
    remove: async path => read(await call('DELETE', path), removeResultSchema),
  };
}

function readSmallFile(path: string, what: string): string {
  try {
    const { size } = statSync(path);
    if (size > maxSecretFileBytes) throw new Error(`${path} has ${size} bytes`);
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw unreadable(`${what}: ${path}`, cause);
  }
}

async function exchange(
  context: Context,
  options: RequestOptions,
  path: string,
  body: unknown,
  signal: AbortSignal,
): Promise<Answer> {
  // bytes that stream have a bound for each wait alone
  const timeout = body instanceof Readable ? new AbortController().signal : AbortSignal.timeout(callTimeoutMs);
  try {
    const response = await send(context, options, path, body, AbortSignal.any([signal, timeout]));
    return await readAnswer(response);
  } catch (error) {
    throw timeout.aborted
      ? new MesoliteError('TIMED_OUT', `${context.server} did not answer within ${callTimeoutMs / 1000} s`)
      : transportError(context, error);
  }
}

function send(
  { server }: Context,
  options: RequestOptions,
  path: string,
  body: unknown,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const type = body instanceof Readable ? 'application/gzip' : 'application/json';
  const headers = body === undefined ? {} : { 'content-type': type };
  return new Promise((resolve, reject) => {
    const request = httpsRequest(`${server}${path}`, {
      ...options,
      headers: { ...options.headers, ...headers },
      signal,
      agent: false,
    });
    request.on('error', reject);
    request.on('response', resolve);
    if (!(body instanceof Readable)) return void request.end(body === undefined ? undefined : JSON.stringify(body));
    request.setTimeout(pushIdleMs, () => request.destroy(new Error(`nothing has moved for ${pushIdleMs / 1000} s`)));
    body.once('error', error => request.destroy(error));
    body.pipe(request);
  });
}

async function stream(
  context: Context,
  options: RequestOptions,
  path: string,
  { body, onFrame }: { readonly body: unknown; readonly onFrame: (frame: OutputFrame) => void },
  signal: AbortSignal,
): Promise<void> {
  const silence = new AbortController();
  const watch = setTimeout(() => silence.abort(), silentMs);
  try {
    const response = await send(context, options, path, body, AbortSignal.any([signal, silence.signal]));
    if (response.statusCode !== 200) throw refusal(context, await readAnswer(response));
    for await (const line of createInterface({ input: response })) {
      watch.refresh();
      const frame = decodeJson(outputFrameSchema, line, `the answer of ${context.server}`, frameBounds);
      if (frame.error !== undefined) throw new MesoliteError(errorCodeOf(frame.error.code), frame.error.message);
      onFrame(frame);
    }
    if (!response.complete) throw new MesoliteError('UNAVAILABLE', `${context.server} closed the connection`);
  } catch (error) {
    throw silence.signal.aborted
      ? new MesoliteError('TIMED_OUT', `${context.server} has said nothing for ${silentMs / 1000} s`)
      : transportError(context, error);
  } finally {
    clearTimeout(watch);
  }
}

async function watchEvents(
  context: Context,
  options: RequestOptions,
  path: string,
  signal: AbortSignal,
  onData: (text: string) => void,
): Promise<void> {
  try {
    const response = await send(context, options, path, undefined, signal);
    if (response.statusCode !== 200) throw refusal(context, await readAnswer(response));
    for await (const line of createInterface({ input: response })) {
      if (line.startsWith('data: ')) onData(line.slice('data: '.length));
    }
  } catch (error) {
    if (!signal.aborted) throw transportError(context, error);
  }
}

async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > answerBounds.maxBytes) {
      response.destroy();
      throw new MesoliteError('TOO_LARGE', `the answer has more than ${answerBounds.maxBytes} bytes`);
    }
    chunks.push(bytes);
  }
  return { status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') };
}

/** What the master said, under its own code where it is one of ours. */
function refusal(context: Context, { status, text }: Answer): MesoliteError {
  let said: { readonly code: string; readonly message: string };
  try {
    said = decodeJson(errorAnswerSchema, text, 'answer').error;
  } catch {
    return new MesoliteError('UNAVAILABLE', `${context.server} answered ${status}: is it a mesolite master?`);
  }
  const code = errorCodeOf(said.code);
  const hint = code === 'UNAUTHENTICATED' ? `: the token in ${context.tokenFile} is not accepted` : '';
  return new MesoliteError(code, code === 'UNAUTHENTICATED' ? `${context.server}${hint}` : said.message);
}

const networkWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'is it running?',
  ECONNRESET: 'it closed the connection',
  ENOTFOUND: 'its name is not known',
  EAI_AGAIN: 'its name cannot be looked up now',
  EHOSTUNREACH: 'there is no way to that host',
  ENETUNREACH: 'there is no way to that network',
  ETIMEDOUT: 'the host does not answer',
};

function transportError({ server, ca }: Context, error: unknown): unknown {
  if (error instanceof MesoliteError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const options = { cause: error };
  const words = networkWords[code];
  if (words !== undefined)
    return new MesoliteError('UNAVAILABLE', `cannot reach the master at ${server}: ${words}`, options);
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const name = new URL(server).hostname;
    const why = `its certificate is for other names: use one of those, or start it with --advertise ${name}`;
    return new MesoliteError('UNTRUSTED', `${server} is not trusted: ${why}`, options);
  }
  if (/CERT|ISSUER|SIGNATURE/.test(code)) {
    const why = `its certificate is not vouched for by ${ca} (${messageOf(error)})`;
    return new MesoliteError('UNTRUSTED', `${server} is not trusted: ${why}`, options);
  }
  return new MesoliteError('UNAVAILABLE', `cannot reach the master at ${server}: ${messageOf(error)}`, options);
}

import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { Agent as HttpsAgent, request as requestTls } from 'node:https';
import type { Random } from '../../../src/base/random.ts';
import { serverNameOf } from '../../../test/fixtures/proxy-node.ts';
import type { Fleet } from './fleet.ts';
import { turns } from './verdicts.ts';

/** How a call goes: as a task through its node's proxy, in either version of HTTP, or as another node over mutual TLS. */
export type Way = 'http' | 'http2' | 'mesh';

export interface Call {
  readonly id: string;
  readonly place: string;
  readonly body: Buffer | undefined;
  readonly isChunked: boolean;
  readonly size: number;
  readonly answerBy: string;
}

export interface Answer {
  readonly status: number;
  readonly id: string;
  readonly body: string;
}

const host = 'web.default.mesh';
const proof = `Basic ${Buffer.from('client-1:secret-of-client').toString('base64')}`;
const answersBy = ['length', 'length', 'length', 'pieces', 'chunks', 'close'];
const maxBodyBytes = 40_000;

/** A call by dice: most are small, some large. */
export function castCall(number: number, random: Random): Call {
  const places = ['always', 'never', ...Array.from({ length: turns }, (_, i) => `p${i}`)];
  const id = String(number).padStart(9, '0');
  const length = random() < 0.3 ? Math.floor(random() ** 4 * maxBodyBytes) : 0;
  return {
    id,
    place: places[Math.floor(random() * places.length)] ?? 'always',
    body: length === 0 ? undefined : Buffer.alloc(length, Number(id.slice(-2)) || 1),
    isChunked: random() < 0.3,
    size: Math.floor(random() ** 6 * maxBodyBytes),
    answerBy: answersBy[Math.floor(random() * answersBy.length)] ?? 'length',
  };
}

/** What an application that allows the call must answer. */
export function expectedBody({ id, body, size }: Call): string {
  return `${id} ${body?.length ?? 0} true ${id.slice(-1).repeat(size)}`;
}

/** A call with nothing of note. */
export function plainCall(number: number): Call {
  const id = String(number).padStart(9, '0');
  return { id, place: 'always', body: undefined, isChunked: false, size: 100, answerBy: 'length' };
}

/** Makes calls over connections that stay open. */
export class Caller {
  readonly #fleet: Fleet;
  readonly #tasks = new HttpAgent({ keepAlive: true, maxSockets: 32 });
  readonly #mesh: HttpsAgent;
  #session: ClientHttp2Session | undefined;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
    const { keyPem, chainPem } = fleet.mesh.identity('client');
    const trust = { key: keyPem, cert: chainPem, ca: fleet.mesh.authority.authority.rootPem };
    this.#mesh = new HttpsAgent({
      ...{ keepAlive: true, maxSockets: 8, servername: serverNameOf('web'), checkServerIdentity: () => undefined },
      ...trust,
    });
  }

  call(way: Way, call: Call): Promise<Answer> {
    return way === 'http2' ? this.#callHttp2(call) : this.#callHttp1(way, call);
  }

  close(): void {
    this.#tasks.destroy();
    this.#mesh.destroy();
    this.#session?.destroy();
  }

  #callHttp1(way: Way, call: Call): Promise<Answer> {
    const path = `/${call.place}/${call.id}`;
    const options = { method: methodOf(call), headers: { host, ...headersOf(call) } };
    return new Promise((resolve, reject) => {
      const onResponse = (response: IncomingMessage) => {
        readAll(response).then(
          body => resolve({ status: response.statusCode ?? 0, id: String(response.headers['x-id']), body }),
          reject,
        );
      };
      const outgoing: ClientRequest =
        way === 'mesh'
          ? requestTls(
              { ...options, host: '127.0.0.1', port: this.#fleet.steady.meshPort, path, agent: this.#mesh },
              onResponse,
            )
          : request(
              {
                ...options,
                port: this.#fleet.caller.outboundPort,
                path: `http://${host}${path}`,
                agent: this.#tasks,
                headers: { ...options.headers, 'proxy-authorization': proof },
              },
              onResponse,
            );
      outgoing.on('error', reject);
      if (call.body !== undefined && !call.isChunked) outgoing.setHeader('content-length', call.body.length);
      if (call.body !== undefined) outgoing.write(call.body);
      outgoing.end();
    });
  }

  #callHttp2(call: Call): Promise<Answer> {
    if (this.#session === undefined || this.#session.closed || this.#session.destroyed) {
      this.#session = connectHttp2(`http://127.0.0.1:${this.#fleet.caller.outboundPort}`);
      this.#session.on('error', () => {});
    }
    const stream = this.#session.request({
      ':method': methodOf(call),
      ':authority': host,
      ':path': `/${call.place}/${call.id}`,
      'proxy-authorization': proof,
      ...headersOf(call),
    });
    let status = 0;
    let id = '';
    stream.on('response', headers => {
      status = headers[':status'] ?? 0;
      id = String(headers['x-id']);
    });
    stream.end(call.body);
    return readAll(stream).then(body => ({ status, id, body }));
  }
}

function methodOf({ body }: Call): string {
  return body === undefined ? 'GET' : 'PUT';
}

function headersOf({ id, size, answerBy }: Call): Record<string, string> {
  return { 'x-id': id, 'x-size': String(size), 'x-way': answerBy };
}

async function readAll(stream: AsyncIterable<Buffer>): Promise<string> {
  let text = '';
  for await (const piece of stream) text += piece.toString('latin1');
  return text;
}

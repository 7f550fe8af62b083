import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { connect, type TLSSocket } from 'node:tls';
import type { Packet } from 'mqtt-packet';
import { createWebSocketStream, WebSocket } from 'ws';
import { clientTlsOptions, joinTlsOptions, type TlsIdentity } from '../../../src/identity/contexts.ts';
import type { TrustBundle } from '../../../src/identity/verify.ts';
import { mqttPath, mqttSubprotocol } from '../../../src/model/websocket.ts';
import { RawClient } from '../../fixtures/wire.ts';

/** A connection to the broker by hand: over TLS, or over a WebSocket. */
export type HandClient = RawClient<Duplex>;

/** A TLS connection to the broker by hand, with a certificate or as a stranger. */
export async function dial(port: number, bundle: TrustBundle, identity?: TlsIdentity): Promise<HandClient> {
  return new RawClient(await openTls(port, bundle, identity));
}

/** The same on the port of the API, as a WebSocket. */
export async function dialWebSocket(port: number, bundle: TrustBundle, identity?: TlsIdentity): Promise<HandClient> {
  const socket = await openTls(port, bundle, identity);
  const webSocket = new WebSocket(`wss://127.0.0.1:${port}${mqttPath}`, mqttSubprotocol, {
    createConnection: () => socket,
    perMessageDeflate: false,
  });
  await once(webSocket, 'open');
  const stream = createWebSocketStream(webSocket);
  // the closing handshake may wait for a side that is gone
  socket.once('close', () => stream.destroy());
  return new RawClient<Duplex>(stream);
}

async function openTls(port: number, bundle: TrustBundle, identity?: TlsIdentity): Promise<TLSSocket> {
  const options = identity === undefined ? joinTlsOptions() : clientTlsOptions(identity, bundle, 'caller');
  const socket: TLSSocket = connect({ ...options, host: '127.0.0.1', port });
  await once(socket, 'secureConnect');
  return socket;
}

export interface Heard {
  readonly topic: string;
  readonly payload: Buffer;
}

/** Somebody with the broker's own rights: hears everything, and can say everything that needs no signature. */
export class Eavesdropper {
  readonly #client: HandClient;
  readonly #heard: Heard[] = [];
  readonly #waiting = new Set<() => void>();
  #messageId = 10;

  constructor(client: HandClient) {
    this.#client = client;
    void this.#listen();
  }

  /** A retained message comes to those alone who ask for its topic by name. */
  static async open(
    port: number,
    bundle: TrustBundle,
    identity: TlsIdentity,
    clientId: string,
    filters: readonly string[] = ['mesolite/v1/#'],
  ): Promise<Eavesdropper> {
    const client = await dial(port, bundle, identity);
    const code = await client.login(clientId, { keepalive: 120 });
    if (code !== 0) throw new Error(`the broker's own certificate is refused with ${code}`);
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: filters.map(topic => ({ topic, qos: 1 })) });
    return new Eavesdropper(client);
  }

  get heard(): readonly Heard[] {
    return this.#heard;
  }

  /** The first message from `since` on that `matches`; throws when none comes in time. */
  async until(what: string, matches: (heard: Heard) => boolean, since = 0, withinMs = 20_000): Promise<Heard> {
    const timeout = AbortSignal.timeout(withinMs);
    for (;;) {
      const found = this.#heard.slice(since).find(matches);
      if (found !== undefined) return found;
      if (timeout.aborted) throw new Error(`nobody said in ${withinMs} ms: ${what}`);
      await new Promise<void>(resolve => {
        const wake = () => {
          this.#waiting.delete(wake);
          timeout.removeEventListener('abort', wake);
          resolve();
        };
        this.#waiting.add(wake);
        timeout.addEventListener('abort', wake);
      });
    }
  }

  say(topic: string, payload: Buffer, retain = false): void {
    this.#messageId++;
    this.#client.publish(topic, payload, { qos: 1, messageId: this.#messageId, retain });
  }

  close(): void {
    this.#client.socket.destroy();
  }

  async #listen(): Promise<void> {
    for (let packet = await this.#client.next(); packet !== undefined; packet = await this.#client.next()) {
      this.#take(packet);
    }
  }

  #take(packet: Packet): void {
    if (packet.cmd !== 'publish') return;
    if (packet.qos === 1) this.#client.send({ cmd: 'puback', messageId: packet.messageId ?? 0 });
    this.#heard.push({ topic: packet.topic, payload: Buffer.from(packet.payload) });
    for (const wake of this.#waiting) wake();
  }
}

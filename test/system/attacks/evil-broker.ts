import { once } from 'node:events';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { Packet } from 'mqtt-packet';
import { serverTlsOptions } from '../../../src/identity/contexts.ts';
import { RawClient } from '../../fixtures/wire.ts';
import type { Arena } from './arena.ts';
import type { HandClient } from './wire.ts';

/** The broker in the hands of an attacker: it has the true certificate, and hands on what it likes between a node and the true one. */
export class EvilBroker {
  readonly #server: Server;
  readonly #behind: HandClient;
  readonly #withheld = new Set<string>();
  readonly #filters = new Set<string>();
  /** The newest of each topic that all may read. */
  readonly #documents = new Map<string, Buffer>();
  #node: RawClient | undefined;
  #messageId = 0;

  private constructor(server: Server, behind: HandClient) {
    this.#server = server;
    this.#behind = behind;
    server.on('tlsClientError', () => {});
    server.on('secureConnection', socket => void this.#serve(socket));
    void this.#listen();
  }

  /** `documents` are those that were retained before. */
  static async open(arena: Arena, documents: readonly string[]): Promise<{ evil: EvilBroker; port: number }> {
    const identity = arena.insider.broker();
    const behind = await arena.dial(identity);
    await behind.login('evil', { keepalive: 120 });
    const server = createServer(serverTlsOptions(identity, arena.bundle, 'caller'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const evil = new EvilBroker(server, behind);
    const subscriptions = ['mesolite/v1/down/+/+', ...documents].map(topic => ({ topic, qos: 0 as const }));
    behind.send({ cmd: 'subscribe', messageId: 1, subscriptions });
    const address = server.address();
    return { evil, port: typeof address === 'object' && address !== null ? address.port : 0 };
  }

  /** From now on the node does not get to hear this topic. */
  withhold(topic: string): void {
    this.#withheld.add(topic);
  }

  /** Says to the node what it likes. */
  say(topic: string, payload: Buffer): void {
    this.#node?.publish(topic, payload);
  }

  close(): void {
    this.#node?.socket.destroy();
    this.#behind.socket.destroy();
    this.#server.close();
  }

  /** What the true broker says. */
  async #listen(): Promise<void> {
    for (let packet = await this.#behind.next(); packet !== undefined; packet = await this.#behind.next()) {
      if (packet.cmd !== 'publish') continue;
      const { topic } = packet;
      const payload = Buffer.from(packet.payload);
      const isDown = topic.startsWith('mesolite/v1/down/');
      if (!isDown) this.#documents.set(topic, payload);
      if (this.#filters.has(topic) && !this.#withheld.has(topic)) this.say(topic, payload);
    }
  }

  /** What the node says. */
  async #serve(socket: TLSSocket): Promise<void> {
    const node = new RawClient(socket);
    this.#node?.socket.destroy();
    this.#node = node;
    this.#filters.clear();
    for (let packet = await node.next(); packet !== undefined; packet = await node.next()) this.#answer(node, packet);
  }

  #answer(node: RawClient, packet: Packet): void {
    if (packet.cmd === 'connect') node.send({ cmd: 'connack', returnCode: 0, sessionPresent: false });
    if (packet.cmd === 'pingreq') node.send({ cmd: 'pingresp' });
    if (packet.cmd === 'subscribe') {
      const topics = packet.subscriptions.map(({ topic }) => topic);
      node.send({ cmd: 'suback', messageId: packet.messageId ?? 0, granted: topics.map(() => 1) });
      for (const topic of topics) {
        this.#filters.add(topic);
        const document = this.#documents.get(topic);
        if (document !== undefined && !this.#withheld.has(topic)) this.say(topic, document);
      }
    }
    if (packet.cmd === 'unsubscribe') node.send({ cmd: 'unsuback', messageId: packet.messageId ?? 0, granted: [] });
    if (packet.cmd !== 'publish') return;
    if (packet.qos === 1) node.send({ cmd: 'puback', messageId: packet.messageId ?? 0 });
    this.#messageId = (this.#messageId % 60_000) + 1;
    this.#behind.publish(packet.topic, Buffer.from(packet.payload), { qos: 1, messageId: this.#messageId });
  }
}

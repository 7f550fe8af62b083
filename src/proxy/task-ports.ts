import type { Server, Socket } from 'node:net';
import { type Clock, secondMs } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { AdmissionBounds } from './admission.ts';
import { type GivenListeners, Listener, outboundServer } from './listener.ts';

/** A port that is there for as long as a task is. */
export interface TaskPort {
  readonly task: string;
  /** Absent: all addresses of the node. */
  readonly host?: string | undefined;
  readonly port: number;
  readonly accept: (socket: Socket, listener: Listener) => void;
}

/** Another process may have the port for a while, as the agent before this one. */
const retryMs = secondMs;

/** Listens on the ports of tasks, each as long as it is wanted; one that is taken is tried again until it is free. */
export class TaskPorts {
  readonly #parts: { readonly clock: Clock; readonly log: Log };
  readonly #bounds: AdmissionBounds;
  readonly #held = new Map<string, HeldPort>();
  #draining = false;

  constructor(parts: { readonly clock: Clock; readonly log: Log }, bounds: AdmissionBounds) {
    this.#parts = parts;
    this.#bounds = bounds;
  }

  /** Client connections of all of them. */
  get open(): number {
    let open = 0;
    for (const { listener } of this.#held.values()) open += listener.open;
    return open;
  }

  /**
   * These and no others; a task's port that stays is left alone. One that is new goes on with the socket in `given`, if there is one.
   * Settles when each new one is there, or was found to be taken.
   */
  async want(ports: readonly TaskPort[], given?: GivenListeners): Promise<void> {
    if (this.#draining) return;
    const wanted = new Map(ports.map(port => [`${port.task} ${port.host ?? ''} ${port.port}`, port]));
    for (const [key, held] of this.#held) {
      if (wanted.has(key)) continue;
      this.#held.delete(key);
      void held.drain();
      held.listener.destroy();
    }
    const added: Promise<void>[] = [];
    for (const [key, port] of wanted) {
      if (this.#held.has(key)) continue;
      const held = new HeldPort(this.#parts, port, this.#bounds, given);
      this.#held.set(key, held);
      added.push(held.tried);
    }
    await Promise.all(added);
  }

  /** The server of a port that is there, by its name among `GivenListeners`. */
  serverOf(name: string): Server | undefined {
    for (const { socketName, listener } of this.#held.values())
      if (socketName === name && listener.server.listening) return listener.server;
    return undefined;
  }

  /** Takes no more connections; resolves when all are gone. */
  async drain(): Promise<void> {
    this.#draining = true;
    await Promise.all([...this.#held.values()].map(held => held.drain()));
  }

  destroy(): void {
    for (const { listener } of this.#held.values()) listener.destroy();
  }
}

class HeldPort {
  readonly listener: Listener;
  readonly socketName: string;
  readonly #parts: { readonly clock: Clock; readonly log: Log };
  readonly #port: TaskPort;
  #isOver = false;
  #said = false;
  #cancel: () => void = () => {};
  #listening: Promise<void>;

  constructor(
    parts: { readonly clock: Clock; readonly log: Log },
    port: TaskPort,
    bounds: AdmissionBounds,
    given: GivenListeners | undefined,
  ) {
    this.#parts = parts;
    this.#port = port;
    this.socketName = `port ${port.host ?? '*'}:${port.port}`;
    const server = outboundServer();
    this.listener = new Listener(server, bounds, parts.log);
    // behind the listener, which may have sent it away
    server.on('connection', (socket: Socket) => {
      if (!socket.destroyed) port.accept(socket, this.listener);
    });
    this.#listening = this.#listen(given);
  }

  /** Settles when it is there, or was found to be taken. */
  get tried(): Promise<void> {
    return this.#listening;
  }

  async drain(): Promise<void> {
    this.#isOver = true;
    this.#cancel();
    // at once, so that the next task may have the port in the same turn
    if (!this.listener.server.listening) await this.#listening;
    await this.listener.drain();
  }

  async #listen(given?: GivenListeners): Promise<void> {
    const { host, port, task } = this.#port;
    const { clock, log } = this.#parts;
    try {
      const address = { host, port };
      await (given === undefined
        ? this.listener.listen(address)
        : this.listener.listen(address, await given.take(this.socketName)));
      if (this.#said) log.info('a port of a task is there now', { task, port });
    } catch (error) {
      if (!this.#said) log.warn('a port of a task cannot be had yet', { task, port, reason: messageOf(error) });
      this.#said = true;
      if (this.#isOver) return;
      this.#cancel = clock.after(retryMs, () => {
        this.#listening = this.#listen();
      });
    }
  }
}

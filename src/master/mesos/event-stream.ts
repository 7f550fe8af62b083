import type { ServerResponse } from 'node:http';
import { encodeRecord } from './record-io.ts';

/** The events of one subscriber, each a record in a chunk of its own. */
export interface EventStream {
  /** The `Mesos-Stream-Id` that its other calls carry. */
  readonly id: string;
  /** Nothing happens once it is closed. */
  send(event: object): void;
  /** Lets what was sent go out, and closes. */
  end(): void;
}

/** `onClose` is called once, whoever closed it. A subscriber that does not take what it is sent is cut off at `limitBytes`. */
export function openEventStream(
  response: ServerResponse,
  settings: { readonly id: string; readonly limitBytes: number; readonly onClose: (isSlow: boolean) => void },
): EventStream {
  const { id, limitBytes, onClose } = settings;
  let isOpen = true;
  /** The first event may be a snapshot of everything. */
  let limit: number | undefined;
  const close = (isSlow: boolean): void => {
    if (!isOpen) return;
    isOpen = false;
    onClose(isSlow);
  };
  response.once('close', () => close(false));
  response.on('error', () => close(false));
  return {
    id,
    send(event) {
      if (!isOpen) return;
      const record = encodeRecord(event);
      limit ??= limitBytes + record.length;
      response.write(record);
      if (response.writableLength <= limit) return;
      response.destroy();
      close(true);
    },
    end() {
      response.end();
      close(false);
    },
  };
}

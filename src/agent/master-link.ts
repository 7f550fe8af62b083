import type { Log } from '../base/log.ts';
import { systemRandom } from '../device/dice.ts';
import { clientTlsOptions, type TlsIdentity } from '../identity/contexts.ts';
import type { TlsDialParts } from '../link/dial.ts';
import { Fallback, type Via } from '../link/fallback.ts';
import { MqttLink } from '../link/mqtt-link.ts';
import { Outbox } from '../link/outbox.ts';
import type { ProxyRules } from '../link/proxy-rules.ts';
import { encodeMessage, maxKeepaliveSeconds } from '../model/message.ts';
import { topics } from '../model/topics.ts';
import type { Board } from './board.ts';
import type { NodeClock } from './clock.ts';
import { dialAny } from './dial-any.ts';
import { makeMasterCheck } from './master-check.ts';
import { type MasterAddress, masterDials } from './master-dials.ts';
import type { Moments } from './moments.ts';
import { makeSender, type Sender } from './sender.ts';
import type { Trust } from './trust.ts';

/** The link of this node to the master, and what it says there. */
export interface MasterLink {
  readonly link: MqttLink;
  readonly sender: Sender;
  /** How masters are spoken to, by HTTPS as well. */
  readonly tls: TlsDialParts;
  /** By what way the newest connection went. */
  readonly via: () => Via;
  readonly isUp: () => boolean;
  /** Nothing that was said waits to be sent. */
  readonly isSent: () => boolean;
  /** Calls `listener` whenever the link has come up; a node that is held back has an expired certificate, and may do no more than renew it. */
  onUp(listener: (isHeldBack: boolean) => void): void;
  /** Judges the present connection again, once the time or trust has changed. */
  recheck(): void;
  start(signal: AbortSignal): Promise<void>;
  /** Comes back to the better way, until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

/** A board that is busy for some seconds is not cut off, however often it is to tell how it fares. */
const leastKeepaliveSeconds = 10;

export function makeMasterLink(
  parts: {
    readonly clock: NodeClock;
    readonly log: Log;
    readonly proxyFor: ProxyRules;
    readonly trust: Trust;
    readonly moments: Moments;
    readonly board: Pick<Board, 'facts' | 'data'>;
    /** What this node shows. */
    readonly ownIdentity: () => TlsIdentity;
  },
  settings: {
    readonly node: string;
    readonly boot: number;
    readonly masters: readonly MasterAddress[];
    readonly fallbackRetryMs?: number | undefined;
  },
): MasterLink {
  const { clock, log, proxyFor, trust, moments, ownIdentity } = parts;
  const { facts, data } = parts.board;
  const { node, boot } = settings;
  const masterCheck = makeMasterCheck({ trust, moments });
  const tls = {
    tls: () => clientTlsOptions(ownIdentity(), trust.current.value.bundle, 'caller'),
    verifyServer: masterCheck.verify,
    proxyFor,
  };
  const ways = waysTo(settings.masters, tls, parts, settings.fallbackRetryMs);
  let isHeldBack = false;
  const link = new MqttLink(
    {
      dial: data.dialling(ways.dial),
      clock,
      random: systemRandom,
      log,
      onPacket: data.count,
      // what the broker holds back from a node whose certificate has expired, whatever this clock says
      onNotGranted: filters => {
        isHeldBack = filters.includes(topics.down(node, 'task'));
      },
    },
    {
      clientId: node,
      will: { topic: topics.up(node, 'death'), payload: encodeMessage({ v: 1, boot }), qos: 1 },
      // a metered link is not woken between two heartbeats, however slow they will be
      keepaliveSeconds: () =>
        data.isMetered
          ? maxKeepaliveSeconds
          : Math.max(leastKeepaliveSeconds, Math.ceil((4 * facts.profile.heartbeatMs) / 1000)),
    },
  );
  const outbox = new Outbox({ link, log });

  return {
    link,
    sender: makeSender({ lanes: outbox, clock }, { node, boot }),
    tls,
    via: () => ways.via.value,
    isUp: () => link.state.value === 'up',
    isSent: () => outbox.stats().waitingBytes === 0,
    onUp(listener) {
      link.state.watch(state => {
        if (state !== 'up') return;
        const wasHeldBack = isHeldBack;
        isHeldBack = false;
        listener(wasHeldBack);
      });
    },
    recheck: masterCheck.recheck,
    async start(signal) {
      await outbox.start(signal);
      await link.start(signal);
    },
    run: signal => ways.run(link, signal),
  };
}

/** By MQTT over TLS, and by WebSocket where that is not let out. */
function waysTo(
  masters: readonly MasterAddress[],
  tls: TlsDialParts,
  { clock, log }: { readonly clock: NodeClock; readonly log: Log },
  retryMs: number | undefined,
): Fallback {
  const { mqtts, wss } = masterDials(tls, masters);
  return new Fallback(
    {
      mqtts: dialAny(mqtts),
      wss: wss.length === 0 ? undefined : dialAny(wss),
      clock,
      random: systemRandom,
      log,
    },
    {
      failures: Math.max(3, mqtts.length),
      failuresAtFirst: mqtts.length,
      ...(retryMs !== undefined && { retryMs }),
    },
  );
}

import { maxHeadBytes, maxHeaders } from '../wire/head.ts';

/** Requests that one connection may have open (RFC 9113 section 6.5.2). */
export const maxStreams = 100;
/** Bytes of a body that may be under way in each stream; they are held while the other side is slow. */
const windowBytes = 64 * 1024 - 1;

/** What both ends of ours tell the other side, and hold it to. */
export const settings = {
  enablePush: false,
  maxConcurrentStreams: maxStreams,
  initialWindowSize: windowBytes,
  // a field counts 32 bytes more here than as a line; what is larger than HTTP/1.1's bound only by that is left to the parser
  maxHeaderListSize: maxHeadBytes + 32 * maxHeaders,
} as const;

/** What node:http2 enforces by itself, beyond the settings. */
export const bounds = {
  /** A head's fields, before any of them is kept; pseudo fields and crumbs of cookies among them. */
  maxHeaderListPairs: maxHeaders + 28,
  /** MB of one connection; above, new streams are refused. */
  maxSessionMemory: 10,
  /** Frames that make no sense, empty DATA frames among them. */
  maxSessionInvalidFrames: 100,
  /** Streams beyond `maxConcurrentStreams`. */
  maxSessionRejectedStreams: 100,
  maxSettings: 32,
} as const;

/** Calls that are taken back before their answer, pings and changes of settings: so many at once, and so many a second. */
export const nuisance = { burst: 200, perSecond: 20 } as const;

/** Why a stream or a connection ends (RFC 9113 section 7). */
export const reason = { none: 0, protocol: 1, internal: 2, refused: 7, cancel: 8, enhanceYourCalm: 11 } as const;
/** The flag of a frame that is the last of its side. */
export const endStream = 1;

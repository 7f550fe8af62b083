import { headerKind } from './header-names.ts';

/** A head may have at most this many bytes, start line and empty line included. */
export const maxHeadBytes = 16 * 1024;
export const maxHeaders = 100;
/** What the parsers return while the end of the head has not come. */
export const incomplete = 0;

/** A parsed head: offsets into the buffer it was read from. One object is used for head after head. */
export class Head {
  start = 0;
  /** Behind the empty line. */
  end = 0;
  minor = 1;
  // of a request
  methodEnd = 0;
  /** The method is CONNECT; the target is then an authority with a port. */
  connect = false;
  /** The authority of a target in absolute form, or of CONNECT; empty for the other forms. */
  authorityStart = 0;
  authorityEnd = 0;
  /** Path and query; empty where an absolute-form target has no path. */
  pathStart = 0;
  pathEnd = 0;
  /** The first `?`, or the end of the path. */
  queryStart = 0;
  // of a response
  status = 0;
  /** The other proxy says that no application has seen the request. */
  isRefusal = false;
  // the headers
  count = 0;
  readonly nameStart = new Int32Array(maxHeaders);
  readonly nameEnd = new Int32Array(maxHeaders);
  readonly valueStart = new Int32Array(maxHeaders);
  readonly valueEnd = new Int32Array(maxHeaders);
  readonly kind = new Uint8Array(maxHeaders);
  /** -1 when absent. */
  contentLength = -1;
  chunked = false;
  close = false;
  keepAlive = false;
  expectContinue = false;
  /** `Connection: upgrade` with `Upgrade: websocket`; the only upgrade that is understood. */
  webSocket = false;
  /** Indexes of single headers; -1 when absent. */
  host = -1;
  requestId = -1;
  contentType = -1;
  proxyAuthorization = -1;
  /** Something must be left out or spelled anew, so the bytes cannot be forwarded as they came. */
  rewrite = false;

  /** Forgets the headers of the message before. */
  clearFields(): void {
    this.count = 0;
    this.contentLength = -1;
    this.chunked = this.close = this.keepAlive = this.expectContinue = this.webSocket = this.rewrite = false;
    this.isRefusal = false;
    this.host = this.requestId = this.contentType = this.proxyAuthorization = -1;
  }

  /** Leaves a header out of what is forwarded. */
  drop(index: number): void {
    this.kind[index] = headerKind.dropped;
    this.rewrite = true;
  }
}

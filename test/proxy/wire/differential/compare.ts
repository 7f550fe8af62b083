import { Buffer } from 'node:buffer';
import type { Inputs } from './inputs.ts';
import { Llhttp } from './llhttp.ts';
import type { Read, Reading } from './message.ts';
import { type OurReading, readRequests, readResponse } from './ours.ts';

/** What ours refuses on purpose though llhttp takes it, by the name of the refusal. */
export const deliberate: Readonly<Record<string, string>> = {
  method: 'more than one empty line before a request',
  target:
    'CONNECT of anything but host:port, "*" of other methods than OPTIONS, "#", bytes above 0x7e, addresses that are not http:// or name a user',
  version: 'HTTP/0.9 and HTTP/2.0',
  host: 'no host, two, an empty one, one with characters that no host has',
  expectation: 'whatever is not 100-continue',
  transferEncoding: 'whatever is not chunked alone, once, in HTTP/1.1',
  connectionOption: 'Connection that names Host, Content-Length, Transfer-Encoding or an identity',
  disguisedName: 'Transfer_Encoding and its like',
  contentLength: 'more than 15 digits',
  chunk: 'chunk extensions, sizes of more than 8 digits',
  trailer: 'trailers that mean framing, routing or identity',
  statusLine: 'statuses below 100 and above 599, 1xx of HTTP/1.0, versions other than HTTP/1.1 and HTTP/1.0',
};

/** What llhttp refuses though ours takes it, by llhttp's code; but for methods only where ours does not forward it as it came. */
export const tolerated: Readonly<Record<string, string>> = {
  HPE_INVALID_METHOD: 'llhttp takes the methods that it knows, ours any token',
  HPE_INVALID_CONTENT_LENGTH: 'a tab behind a length, which RFC 9110 section 5.5 allows; ours spells the length anew',
  HPE_INVALID_TRANSFER_ENCODING: 'a tab behind chunked, in the same way',
  HPE_CLOSED_CONNECTION: 'llhttp obeys Proxy-Connection, which ours ignores and does not forward',
};

/** What came of many inputs. */
export class Comparison {
  inputs = 0;
  /** Messages that both understood, and in the same way. */
  agreed = 0;
  /** How often ours refused what llhttp took, by the reason. */
  readonly stricter = new Map<string, number>();
  /** How often llhttp refused what ours took, by its code. */
  readonly laxer = new Map<string, number>();
  /** Inputs that must not be: what is wrong, and the bytes as hexadecimal digits. */
  readonly faults: string[] = [];
  readonly #llhttp = new Llhttp();

  async requests(inputs: Inputs, count: number): Promise<void> {
    const bytes = Array.from({ length: count }, () => inputs.requests());
    const ours = bytes.map(readRequests);
    const theirs = await this.#llhttp.readRequests(bytes);
    for (const [i, reading] of ours.entries()) this.compare(bytes[i], reading, theirs[i]);
    const rewritten = ours
      .filter(({ rewritten }) => rewritten !== '')
      .map(({ rewritten }) => Buffer.from(rewritten, 'latin1'));
    const read = await this.#llhttp.readRequests(rewritten);
    for (const [i, again] of rewritten.entries()) this.compare(again, readRequests(again), read[i], 'forwarded');
    this.inputs += count;
  }

  async responses(inputs: Inputs, count: number): Promise<void> {
    const bytes = Array.from({ length: count }, (_, i) => [inputs.response(), i % 8 === 0] as const);
    const theirs = await this.#llhttp.readResponses(bytes);
    const ours = bytes.map(([response, toHead]) => readResponse(response, toHead));
    for (const [i, reading] of ours.entries()) this.compare(bytes[i]?.[0], reading, theirs[i]);
    const again = ours.flatMap(({ rewritten }, i) =>
      rewritten === '' ? [] : [[Buffer.from(rewritten, 'latin1'), i % 8 === 0] as const],
    );
    const read = await this.#llhttp.readResponses(again);
    for (const [i, [response, toHead]] of again.entries())
      this.compare(response, readResponse(response, toHead), read[i], 'forwarded');
    this.inputs += count;
  }

  /** Everything that must not be: faults, and refusals that are not on the list. */
  wrong(): readonly string[] {
    const unlisted = [...this.stricter.keys()].filter(name => !Object.hasOwn(deliberate, name));
    return [
      ...this.faults,
      ...unlisted.map(name => `ours refused by ${name}, which is not among what it refuses on purpose`),
    ];
  }

  /** Notes what ours and llhttp made of the same bytes. */
  compare(bytes: Buffer | undefined, ours: OurReading, theirs: Reading | undefined, what = ''): void {
    if (bytes === undefined || theirs === undefined) return;
    const fault = this.#faultOf(ours, theirs);
    if (fault !== undefined) this.faults.push(`${what} ${fault}: ${bytes.toString('hex')}`.trim());
  }

  #faultOf(ours: OurReading, theirs: Reading): string | undefined {
    const { refusal, messages } = ours;
    for (const [i, message] of messages.entries()) {
      const other = theirs.messages[i];
      const isLast = i === messages.length - 1;
      if (other === undefined || !isSame(message, other)) return this.#missing(ours, theirs, other);
      if (!message.isWhole && refusal !== undefined && isLast) break;
      // a tab behind chunked, to llhttp another encoding: what ours makes of it is compared by itself
      if (message.isWhole && !other.isWhole && ours.rewrites) return undefined;
      if (message.isWhole !== other.isWhole && !(message.isWhole && this.#tolerates(ours, theirs)))
        return `llhttp has ${other.isWhole ? 'the whole of a body where ours waits' : 'no end of a body where ours has'}`;
      if (message.isWhole && message.bodyBytes !== other.bodyBytes) return 'llhttp reads another body';
      if (message.isWhole) this.agreed++;
    }
    if (refusal !== undefined) this.#noteStricter(ours, refusal, theirs);
    else if (!ours.ended && theirs.messages.length > messages.length) return 'llhttp reads a message where ours waits';
    return undefined;
  }

  #missing(ours: OurReading, theirs: Reading, other: Read | undefined): string | undefined {
    if (other !== undefined) return 'llhttp reads another head';
    return this.#tolerates(ours, theirs) ? undefined : `llhttp refuses by ${theirs.refusal} what ours takes`;
  }

  #tolerates({ rewrites }: OurReading, { refusal }: Reading): boolean {
    if (refusal === undefined || !Object.hasOwn(tolerated, refusal)) return false;
    if (refusal !== 'HPE_INVALID_METHOD' && !rewrites) return false;
    this.laxer.set(refusal, (this.laxer.get(refusal) ?? 0) + 1);
    return true;
  }

  /** Ours refused a head, or the body of the last message: did llhttp take it? */
  #noteStricter({ messages }: OurReading, refusal: string, theirs: Reading): void {
    const at = messages.at(-1)?.isWhole === false ? messages.length - 1 : messages.length;
    if (theirs.messages[at]?.isWhole === true) this.stricter.set(refusal, (this.stricter.get(refusal) ?? 0) + 1);
  }
}

function isSame(ours: Read, theirs: Read): boolean {
  return (
    ours.start === theirs.start &&
    ours.minor === theirs.minor &&
    ours.fields.length === theirs.fields.length &&
    ours.fields.every((text, i) => text === theirs.fields[i])
  );
}

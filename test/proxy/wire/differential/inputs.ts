import { Buffer } from 'node:buffer';
import type { Random } from '../../../../src/base/random.ts';

// Each list begins with what is plain: of two picks one is the first few.
const methods = [
  'GET',
  'POST',
  'HEAD',
  'PUT',
  'DELETE',
  'OPTIONS',
  'PATCH',
  'TRACE',
  'PROPFIND',
  'CONNECT',
  'M-SEARCH',
  'get',
];
const targets = [
  '/',
  '/a?b=c',
  '/a/../b',
  'http://b/a',
  'http://b',
  'HTTP://b:80?x',
  '*',
  '/a#b',
  'a:80',
  '//',
  '/%00',
  '/\xff',
  'https://a/',
  'http://u@b/',
  '/"<>^`{|}',
];
const versions = [
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/2.0',
  'HTTP/0.9',
  'http/1.1',
  'HTTP/1.1 ',
  'HTTP/11',
  '',
];
const lengths = [
  '5',
  '0',
  '05',
  '5 ',
  '+5',
  '-5',
  '0x5',
  '5,5',
  '5 5',
  '',
  '5.',
  '99999999999999999999',
  '18446744073709551621',
  '5\t',
];
const encodings = [
  'chunked',
  'Chunked',
  'chunked ',
  'gzip, chunked',
  'chunked, gzip',
  'identity',
  'xchunked',
  '\x0bchunked',
  'chunked,',
  '"chunked"',
  '',
  'chunked;a',
  ',chunked',
  'chunked,chunked',
  'chu nked',
];
const plainFields = [
  'X: y',
  'Accept: */*',
  'Cookie: a=b; c=d',
  'X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
];
const oddFields = [
  'Connection: close',
  'Connection: keep-alive',
  'Connection: upgrade',
  'Connection: x, te',
  'Connection: keep-alive, close',
  'Connection: host',
  'Upgrade: websocket',
  'Upgrade: h2c',
  'Expect: 100-continue',
  'Expect: x',
  'TE: trailers',
  'X:',
  'X:  \t y \t',
  'X : y',
  ' X: y',
  'X',
  ': y',
  'X: a\r\n b',
  'X: a\r\n\tb',
  'X: \x01',
  'X: \x7f',
  'X: \xff',
  'X: a\0b',
  'X\0: y',
  'X(: y',
  'X\xff: y',
  'Host: b',
  'Host: a b',
  'Host:',
  'HOST: a',
  'Proxy-Authorization: x',
  'Keep-Alive: 5',
  'Transfer_Encoding: chunked',
  'Content_Length: 5',
  'X-Forwarded-Client-Cert: x',
  'X: a\ny: b',
  'X: a\ry: b',
  'Trailer: x',
  'Proxy-Connection: close',
];
const statuses = [
  '200 OK',
  '204 No Content',
  '304 Not Modified',
  '404 ',
  '500',
  '100 Continue',
  '103 Early',
  '101 Switching',
  '099 X',
  '600 X',
  '20 X',
  '2000 X',
  ' 200 X',
  '200\tX',
  '299 \xff',
];
const sizes = [
  '5',
  '05',
  '0005',
  'A',
  'a',
  '0x5',
  '5;a=b',
  '5 ',
  ' 5',
  '+5',
  '-5',
  '',
  '5\t',
  '5;',
  'FFFFFFFFF',
  '10000000000000005',
  '5 ;a',
  'g',
];
const trailers = [
  '',
  '',
  '',
  'X: y\r\n',
  'Content-Length: 5\r\n',
  'Transfer-Encoding: chunked\r\n',
  'X : y\r\n',
  ' X: y\r\n',
  'X: a\r\n b\r\n',
  'Host: a\r\n',
];
const lineEnds = ['\r\n', '\n', '\r', '\r\r\n', '\n\r', ''];
const bytesOfNote = '\r\n\0\t :;,0159afxF/#\x0b\x7f\x80\xff-+';

/** Makes one input after another out of dice: what clients and servers send, most of it a little wrong. */
export class Inputs {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  requests(): Buffer {
    let text = '';
    for (let left = 1 + this.#nat(3); left > 0; left--) text += this.#request();
    return this.#damaged(text);
  }

  response(): Buffer {
    const hint = this.#chance(0.1) ? 'HTTP/1.1 103 Early\r\nx: y\r\n\r\n' : '';
    const version = this.#chance(0.9) ? 'HTTP/1.1' : this.#pick(versions);
    const line = `${version} ${this.#pick(statuses)}${this.#lineEnd()}`;
    return this.#damaged(hint + this.#message(line, ''));
  }

  #request(): string {
    const version = this.#chance(0.9) ? 'HTTP/1.1' : this.#pick(versions);
    const before = this.#chance(0.02) ? '\r\n' : '';
    const host = this.#chance(0.95) ? `Host: a${this.#lineEnd()}` : '';
    return this.#message(`${before}${this.#pick(methods)} ${this.#pick(targets)} ${version}${this.#lineEnd()}`, host);
  }

  #message(line: string, host: string): string {
    let head = line + host;
    let body = '';
    if (this.#chance(0.35)) {
      head += `Content-Length: ${this.#pick(lengths)}${this.#lineEnd()}`;
      body = 'abcde';
    }
    if (this.#chance(0.35)) {
      head += `Transfer-Encoding: ${this.#pick(encodings)}${this.#lineEnd()}`;
      body = this.#chunks();
    }
    for (let left = this.#nat(4); left > 0; left--) {
      const field = this.#chance(0.6)
        ? plainFields[this.#nat(plainFields.length)]
        : oddFields[this.#nat(oddFields.length)];
      head += `${field}${this.#lineEnd()}`;
    }
    return `${head}${this.#lineEnd()}${body}`;
  }

  #chunks(): string {
    let text = '';
    for (let left = this.#nat(3); left > 0; left--) {
      const size = this.#pick(sizes);
      const length = Math.min(Number.parseInt(size, 16) || 5, 16);
      text += `${size}${this.#lineEnd()}${'x'.repeat(Math.max(0, length))}${this.#lineEnd()}`;
    }
    return `${text}0${this.#lineEnd()}${trailers[this.#nat(trailers.length)]}${this.#lineEnd()}`;
  }

  /** In up to three places of every third text a byte is changed, put in or taken out. */
  #damaged(text: string): Buffer {
    let damaged = text;
    if (this.#chance(0.35)) {
      for (let left = 1 + this.#nat(3); left > 0; left--) {
        const at = this.#nat(damaged.length + 1);
        const put = this.#chance(0.7) ? (bytesOfNote[this.#nat(bytesOfNote.length)] ?? '') : '';
        damaged = damaged.slice(0, at) + put + damaged.slice(at + this.#nat(2));
      }
    }
    return Buffer.from(damaged, 'latin1');
  }

  #lineEnd(): string {
    return this.#chance(0.98) ? '\r\n' : (lineEnds[this.#nat(lineEnds.length)] ?? '');
  }

  #pick(list: readonly string[]): string {
    return list[this.#nat(this.#chance(0.6) ? Math.min(2, list.length) : list.length)] ?? '';
  }

  #chance(share: number): boolean {
    return this.#random() < share;
  }

  #nat(limit: number): number {
    return Math.floor(this.#random() * limit);
  }
}

import { last, post, type ResponseCase, type Verdict } from './case.ts';

/** A response that an attacker would like another client to get. */
const injected = 'HTTP/1.1 200 OK\r\nx-for: injected\r\ncontent-length: 0\r\n\r\n';
const begin = (line = '200 OK') => `HTTP/1.1 ${line}\r\nx-for: /case\r\n`;
const answer = (lines: string, body = '') => `${begin()}${lines}\r\n${body}`;
const chunked = (body: string) => answer('transfer-encoding: chunked\r\n', body);
const whole = answer('content-length: 2\r\n', 'ok');
const hints = 'HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n';
const head = 'HEAD /case HTTP/1.1\r\nHost: a\r\n\r\n';

type Spec = readonly [answer: string, odd: RegExp | string, more?: Partial<ResponseCase>];

function responseCases(ours: Verdict, cases: Readonly<Record<string, Spec>>): readonly ResponseCase[] {
  return Object.entries(cases).map(([name, [bytes, odd, more]]) => ({ name, answer: bytes, odd, ours, ...more }));
}

/** An application that errs, or is the attacker's. */
export const responses: readonly ResponseCase[] = [
  ...responseCases('refused', {
    'length and encoding': [
      answer('content-length: 5\r\ntransfer-encoding: chunked\r\n', last),
      /length[\s\S]*encoding/,
    ],
    'encoding and length': [
      answer('transfer-encoding: chunked\r\ncontent-length: 5\r\n', last),
      /encoding[\s\S]*length/,
    ],
    'two lengths': [answer('content-length: 2\r\ncontent-length: 5\r\n', 'ok'), /length[\s\S]*length/],
    'the same length twice': [answer('content-length: 2\r\ncontent-length: 2\r\n', 'ok'), /length[\s\S]*length/],
    'a signed length': [answer('content-length: +2\r\n', 'ok'), /\+2/],
    'a list of lengths': [answer('content-length: 2, 2\r\n', 'ok'), /2, 2/],
    'a length that overflows': [answer('content-length: 18446744073709551618\r\n', 'ok'), /18446744073709551618/],
    'encoding: xchunked': [answer('transfer-encoding: xchunked\r\n', last), /xchunked/, { closes: true }],
    'encoding: gzip, chunked': [answer('transfer-encoding: gzip, chunked\r\n', last), /gzip/],
    'encoding: identity': [answer('transfer-encoding: identity\r\n', 'ok'), /identity/, { closes: true }],
    'encoding: twice': [answer('transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n', last), /ed[\s\S]*ed/],
    'encoding: a vertical tab before': [answer('transfer-encoding: \x0bchunked\r\n', last), '\x0b'],
    'encoding: an underscore in the name': [answer('transfer_encoding: chunked\r\n', last), /r_e/, { closes: true }],
    'encoding: in HTTP/1.0': [
      `HTTP/1.0 200 OK\r\nx-for: /case\r\ntransfer-encoding: chunked\r\n\r\n${last}`,
      /encoding/,
      { closes: true },
    ],
    'chunk: an extension': [chunked(`1;a=b\r\nx\r\n${last}`), /a=b/],
    'chunk: no size': [chunked(`x\r\n${last}`), /\nx/],
    'chunk: a size that overflows': [chunked(`10000000000000001\r\nx\r\n${last}`), /10000000000000001/],
    'chunk: a bare line feed': [chunked(`1\nx\r\n${last}`), /1\nx/],
    'chunk: more data than it says': [chunked(`1\r\nxy\r\n${last}`), /xy/],
    'chunk: the end before the last': [chunked('1\r\nx\r\n'), /x/, { closes: true }],
    'trailer: a length': [chunked('0\r\ncontent-length: 5\r\n\r\n'), /length/],
    'trailer: a status line': [chunked(`0\r\n${injected}`), /injected/],
    'length: the end before the last byte': [answer('content-length: 5\r\n', 'ok'), /ok/, { closes: true }],
    'bare line feeds': ['HTTP/1.1 200 OK\nx-for: /case\ncontent-length: 0\n\n', /K\nx/],
    'a bare line feed in a value': [answer('x: a\ny: b\r\ncontent-length: 2\r\n', 'ok'), /a\ny/],
    'a bare carriage return in a value': [answer('x: a\rset-cookie: injected\r\ncontent-length: 0\r\n'), /a\r/],
    'a folded header': [answer('x: a\r\n b\r\ncontent-length: 2\r\n', 'ok'), /\n b/],
    'NUL in a value': [answer('x: a\0b\r\ncontent-length: 2\r\n', 'ok'), '\0'],
    'a space before the colon': [answer('content-length : 2\r\n', 'ok'), /length :/],
    'no colon': [answer('x\r\ncontent-length: 2\r\n', 'ok'), /\nx\r/],
    'status: two digits': [`${begin('20 OK')}content-length: 0\r\n\r\n`, / 20 /],
    'status: four digits': [`${begin('2000 OK')}content-length: 0\r\n\r\n`, /2000/],
    'status: a letter': [`${begin('2x0 OK')}content-length: 0\r\n\r\n`, /2x0/],
    'status: 099': [`${begin('099 OK')}content-length: 0\r\n\r\n`, /099/],
    'status: 600': [`${begin('600 OK')}content-length: 0\r\n\r\n`, /600/],
    'status: two spaces before': ['HTTP/1.1  200 OK\r\nx-for: /case\r\ncontent-length: 0\r\n\r\n', / {2}200/],
    'status: a control character in the reason': [`${begin('200 O\x01K')}content-length: 0\r\n\r\n`, '\x01'],
    'version: HTTP/2.0': ['HTTP/2.0 200 OK\r\nx-for: /case\r\ncontent-length: 0\r\n\r\n', /HTTP\/2/],
    'version: HTTP/1.2': ['HTTP/1.2 200 OK\r\nx-for: /case\r\ncontent-length: 0\r\n\r\n', /HTTP\/1\.2/],
    'version: ICY': ['ICY 200 OK\r\nx-for: /case\r\n\r\nok', /ICY/, { closes: true }],
    'no status line': ['<html>x-for: /case</html>', /html/, { closes: true }],
    'an empty line before': [`\r\n${whole}`, /^\r\n/],
    'nothing at all': ['', /./, { closes: true }],
    'a head of 17 KB': [answer(`x: ${'a'.repeat(17_000)}\r\ncontent-length: 0\r\n`), /a{17000}/],
    '101 that was not asked for': [
      `${begin('101 Switching Protocols')}connection: upgrade\r\nupgrade: x\r\n\r\n`,
      /101/,
    ],
    '101 to another protocol': [
      `${begin('101 Switching Protocols')}connection: upgrade\r\nupgrade: h2c\r\n\r\n`,
      /101/,
      { request: 'GET /case HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n' },
    ],
    'a flood of 1xx': [`${hints.repeat(200)}${whole}`, hints.repeat(200)],
    '103 of HTTP/1.0': [hints.replace('1.1', '1.0') + whole, /103/],
    'the length named by Connection': [answer('connection: content-length\r\ncontent-length: 2\r\n', 'ok'), /ok/],
  }),
  ...responseCases('canonical', {
    'a response behind a body with a length': [whole + injected, /injected/],
    'a response behind the last chunk': [chunked(last) + injected, /injected/],
    'a response behind 204': [`${begin('204 No Content')}\r\n${injected}`, /injected/],
    'a response behind 304': [`${begin('304 Not Modified')}content-length: 50\r\n\r\n${injected}`, /injected/],
    'a response as the body of 204': [
      `${begin('204 No Content')}content-length: ${injected.length}\r\n\r\n${injected}`,
      /injected|content-length: \d\d/,
    ],
    'a response as chunks of 204': [
      `${begin('204 No Content')}transfer-encoding: chunked\r\n\r\n3f\r\n${injected}\r\n${last}`,
      /injected|chunked/,
    ],
    'a response as the body of an answer to HEAD': [
      answer(`content-length: ${injected.length}\r\n`, injected),
      /injected/,
      { request: head },
    ],
    'chunks in an answer to HEAD': [
      answer('transfer-encoding: chunked\r\n', `2\r\nok\r\n${last}`),
      /\nok\r\n0/,
      { request: head },
    ],
    'a response while nobody asks': [
      whole,
      /injected/,
      { request: 'GET /case HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', afterwards: injected },
    ],
    'an odd length': [answer('content-length:\t002\r\n', 'ok'), /002/],
    'an odd encoding': [answer('transfer-encoding:\tChunked \r\n', last), /\t|Chunked/],
    'hop-by-hop headers': [
      answer('keep-alive: timeout=5\r\nconnection: x-secret\r\nx-secret: 1\r\ncontent-length: 2\r\n', 'ok'),
      /secret|timeout/,
    ],
  }),
  ...responseCases('as is', {
    'a body up to the end': [answer('', 'ok'), /ok/, { closes: true }],
    'a body up to the end that looks like a response': [answer('', `ok${whole}`), /ok/, { closes: true }],
    'status: no reason': [`${begin('200 ')}content-length: 2\r\n\r\nok`, /200 \r/],
    'status: neither a space nor a reason': [`${begin('200')}content-length: 2\r\n\r\nok`, /200\r/],
    'status: 299': [`${begin('299 X')}content-length: 2\r\n\r\nok`, /299/],
    '103, then the answer': [hints + whole, /103/],
    '100 that was not asked for': [`HTTP/1.1 100 Continue\r\n\r\n${whole}`, /100/],
    'an early answer to half a body': [
      whole,
      /ok/,
      { early: true, request: post('Content-Length: 200000\r\n', 'x'.repeat(100_000)) },
    ],
    'an early answer to a chunked body': [
      whole,
      /ok/,
      { early: true, request: post('Transfer-Encoding: chunked\r\n', `186a0\r\n${'x'.repeat(50_000)}`) },
    ],
    'a length in an answer to HEAD': [answer('content-length: 50\r\n'), /50/, { request: head }],
    'a length of 304': [`${begin('304 Not Modified')}content-length: 50\r\n\r\n`, /304/],
  }),
];

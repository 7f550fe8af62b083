/**
 * The application behind the proxies of `bench:proxy`: `GET /<n>` is answered with n bytes, and so is a POST when its body is there.
 * It trusts its clients, which are proxies, to send one well-formed request at a time. Its one argument is the port.
 */
import { createServer, type Socket } from 'node:net';

const answers = new Map<string, Buffer>();

function answerOf(size: string): Buffer {
  const known = answers.get(size);
  if (known !== undefined) return known;
  const head = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${size}\r\n\r\n`;
  const answer = Buffer.concat([Buffer.from(head, 'latin1'), Buffer.alloc(Number(size), 'x')]);
  answers.set(size, answer);
  return answer;
}

function serve(socket: Socket): void {
  let text = '';
  let left = 0;
  let answer: Buffer | undefined;
  socket.on('data', bytes => {
    if (answer === undefined) {
      text += bytes.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      if (end < 0) return;
      answer = answerOf(/^\S+ \/(\d+)/.exec(text)?.[1] ?? '100');
      left = Number(/\ncontent-length: *(\d+)/i.exec(text)?.[1] ?? 0) - (text.length - end - 4);
      text = '';
    } else left -= bytes.length;
    if (left > 0) return;
    socket.write(answer);
    answer = undefined;
  });
  socket.on('error', () => {});
}

createServer({ noDelay: true }, serve).listen(Number(process.argv[2]), '127.0.0.1');

import type { FastifyReply } from 'fastify';

/** What a caller may leave untaken before it is cut off. */
const limitBytes = 8 * 1024 * 1024;

/** Answers with server-sent events (HTML, 9.2); the returned function sends one, or a comment when there is nothing to say. */
export function openEventSource(reply: FastifyReply): (event: object | undefined) => void {
  reply.hijack();
  const { raw } = reply;
  raw.on('error', () => raw.destroy());
  raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  raw.flushHeaders();
  return event => {
    if (raw.destroyed) return;
    raw.write(event === undefined ? ':\n\n' : `data: ${JSON.stringify(event)}\n\n`);
    if (raw.writableLength > limitBytes) raw.destroy();
  };
}

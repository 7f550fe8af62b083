/** A process that answers with the id of the request, how many bytes of its body came, and as many bytes more as it was asked for. */
import { createServer } from 'node:http';

const server = createServer((incoming, response) => {
  let length = 0;
  let isWhole = true;
  const fill = Number(String(incoming.headers['x-id']).slice(-2)) || 1;
  incoming.on('data', (piece: Buffer) => {
    length += piece.length;
    if (piece.length > 0 && (piece[0] !== fill || piece.at(-1) !== fill)) isWhole = false;
  });
  incoming.on('end', () => {
    // a tool that sets no headers asks for a size in the query
    const size = Number(incoming.headers['x-size'] ?? /size=(\d+)/.exec(incoming.url ?? '')?.[1] ?? 0);
    const answer = `${incoming.headers['x-id']} ${length} ${isWhole} ${String(incoming.headers['x-id']).slice(-1).repeat(size)}`;
    response.setHeader('x-id', String(incoming.headers['x-id']));
    const way = incoming.headers['x-way'];
    if (way === 'close') response.setHeader('connection', 'close');
    if (way === 'length') response.setHeader('content-length', answer.length);
    if (way === 'pieces') {
      response.write(answer.slice(0, 7));
      setImmediate(() => response.end(answer.slice(7)));
    } else response.end(answer);
  });
});
server.keepAliveTimeout = 30_000;
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.send?.({ kind: 'started', port: typeof address === 'object' && address !== null ? address.port : 0 });
});
process.on('disconnect', () => process.exit());

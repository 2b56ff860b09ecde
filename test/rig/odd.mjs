// SPDX-License-Identifier: Apache-2.0
// Servers that are none: for what cannot be seen at the rig's proxies.
//
//   node test/rig/odd.mjs KIND [KEY.pem CERTIFICATE.pem]
//
// Prints its port on 127.0.0.1 on one line; ends when its standard input does. KIND:
//   endless    a 200 whose body never ends           headers    a head that never ends
//   fair       TLS; an error for each request          idle       TLS; the same, then closes after 50 ms of idling
//   reset      TLS; resets the connection when a request comes
//   cut        TLS; closes the connection in the middle of its answer
//   early      TLS; resets the connection when the first bytes of a request come
import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';

const [kind, key, certificate] = process.argv.slice(2);
const BODY = '{"__type":"x#ValidationException","message":"no database"}';
const ANSWER =
  'HTTP/1.1 400 Bad Request\r\nx-amzn-RequestId: ODD\r\n' +
  `Date: ${new Date().toUTCString()}\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;

function flood(socket, head, part) {
  socket.write(head);
  const more = () => {
    while (!socket.destroyed && socket.write(part));
  };
  socket.on('drain', more);
  more();
}

const KINDS = {
  endless: socket => flood(socket, 'HTTP/1.1 200 OK\r\nx-amzn-RequestId: ODD\r\n\r\n{"Item":"', 'x'.repeat(65536)),
  headers: socket => flood(socket, 'HTTP/1.1 200 OK\r\n', `x-more: ${'y'.repeat(8000)}\r\n`),
  fair: socket => socket.write(ANSWER),
  idle: socket => socket.write(ANSWER, () => setTimeout(() => socket.end(), 50)),
  reset: (socket, raw) => raw.resetAndDestroy(),
  cut: (socket, raw) => socket.write(ANSWER.slice(0, -5), () => raw.destroy()),
};

function serve(socket, raw) {
  let seen = '';
  socket.on('error', () => {});
  socket.on('data', data => {
    if (kind === 'early') return raw.resetAndDestroy();
    seen += data;
    const length = /content-length: *(\d+)/i.exec(seen)?.[1];
    const end = seen.indexOf('\r\n\r\n');
    if (end < 0 || seen.length < end + 4 + Number(length)) return;
    seen = '';
    KINDS[kind](socket, raw);
  });
}

const server = net.createServer(raw => {
  raw.on('error', () => {});
  if (!key) return serve(raw, raw);
  const secure = new tls.TLSSocket(raw, {
    isServer: true,
    secureContext: tls.createSecureContext({ key: readFileSync(key), cert: readFileSync(certificate) }),
  });
  serve(secure, raw);
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));
process.stdin.on('end', () => process.exit(0)).resume();

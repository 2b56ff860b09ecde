// SPDX-License-Identifier: Apache-2.0
// A forward proxy, as a company has one at its border: CONNECT for TLS, whole URLs without.
//
//   node test/rig/forward.mjs
//
// Prints its port on 127.0.0.1 on one line, then a line for each request: "CONNECT 127.0.0.1:443",
// "POST http://127.0.0.1:80/". Ends when its standard input does.
import http from 'node:http';
import net from 'node:net';

const tell = request => process.stdout.write(`${request.method} ${request.url}\n`);

const server = http.createServer((request, response) => {
  tell(request);
  const { hostname, port, pathname, search } = new URL(request.url);
  const headers = Object.entries(request.headers).filter(([name]) => !/^proxy-|^connection$/.test(name));
  const onward = http.request({
    hostname, port, path: pathname + search, method: request.method, headers: Object.fromEntries(headers),
  });
  onward.on('response', answer => {
    response.sendDate = false;
    response.writeHead(answer.statusCode, answer.rawHeaders);
    answer.pipe(response);
  });
  onward.on('error', () => request.socket.destroy());
  request.pipe(onward);
});

server.on('connect', (request, socket, head) => {
  tell(request);
  const [host, port] = request.url.split(':');
  const onward = net.connect(Number(port), host, () => {
    socket.write('HTTP/1.1 200 Connection established\r\nVia: 1.1 rig\r\n\r\n');
    onward.write(head);
    socket.pipe(onward).pipe(socket);
  });
  onward.on('error', () => socket.destroy());
  onward.on('close', () => socket.destroy());
  socket.on('error', () => onward.destroy());
  socket.on('close', () => onward.destroy());
});

server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));
process.stdin.on('end', () => process.exit(0)).resume();

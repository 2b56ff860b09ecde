// SPDX-License-Identifier: Apache-2.0
//
// The test rig: DynamoDB Local and dynalite, proxies in front of them that judge each request and do what faults
// they are told to, and a control connection for tests.
//
//   node test/rig/main.mjs [--servers local,dynalite]
//
// Prints {"control": PORT, "local": PORT, "dynalite": PORT} on one line when all is ready; ends, with everything it
// started, when its standard input closes or on SIGTERM or SIGINT. Everything but DynamoDB Local itself listens on
// 127.0.0.1 only.
//
// Control protocol: TCP; one JSON object a line, answered in order by one JSON object a line: {"ok":true,...}, or
// {"ok":false,"error":"..."} where the request to the rig was wrong or a wait ran out. An error of a *server* or of
// the Go library is {"ok":true,"error":...}. Proxies, Go clients and their renewals end with the connection that
// made them; any connection may name a proxy by its id. One connection does one command at a time: a test that
// waits while it acts opens two.
//
//   {"cmd":"proxy","server":"local"|"dynalite", SETTINGS}   → {"proxy":ID,"port":N}
//       A listener of its own: own port, counters, log, faults. SETTINGS, all optional:
//       "secrets":{KEYID:SECRET,...}  default: the one pair of rig.h     "tokens":{KEYID:TOKEN}  temporary credentials
//       "expiries":{KEYID:MS}  until when they are accepted (default: for ever)
//       "metadata":ID  what that one has handed out is known too, until it expires (only when the proxy is made)
//       "verify":false  takes any signature                              "region":"..."  the only one accepted
//       "skew_ms":N  the proxy's clock against the true one, for its ±5 min check and its Date
//       "date":"clock" (default: the proxy's clock) | "server" (as the server sent it) | "none"
//       "idle_ms":N  closes a kept connection that is idle so long (default 60000)
//   {"cmd":"set","proxy":ID, SETTINGS}                      changes settings
//   {"cmd":"close","proxy":ID}                              ends a proxy
//   {"cmd":"shut","proxy":ID}, {"cmd":"open","proxy":ID}    refuses connections (and cuts those there are); back again
//   {"cmd":"hang-up","proxy":ID}                            closes all client connections → {"closed":n}
//   {"cmd":"counts","proxy":ID} → {"counts":{"PutItem":3},"total","forwarded","answered","refused","connections",
//       "open","held","faults":{"drop":1},"violations":["PutItem: no Content-Length",...]}
//       refused: by signature or clock. violations: what the real service or a strict reader would object to; such a
//       request is answered 400 rig#Violation, and a fault of the rig itself is listed here too ("rig: ...").
//       "connections" accepted, "open" now.
//   {"cmd":"reset-counts","proxy":ID}                       counters, log and violations to nothing
//   {"cmd":"log","proxy":ID[,"last":N][,"op":..]} → {"log":[{"n","connection","op","key","request","arrived_ms",
//       "forwarded":times,"fault":action|null,"status","answer","answered_ms"}],"now_ms"}
//       Times are CLOCK_MONOTONIC in ms, the machine's own; the last 1000 requests are kept.
//   {"cmd":"wait","proxy":ID,"state":"arrived","op":..|null,"key":..|null,"count":1,"timeout_ms":10000} → {"count"}
//       Until so many requests (since the start or reset-counts) have come so far: arrived, held (by the action hold),
//       forwarded (the server has answered the proxy), answered (the answer is with the kernel), finished (the proxy
//       is done with it, faults included).
//   {"cmd":"fault","proxy":ID,"match":{"op":..,"key":..,"nth":k},"times":1,"action":ACTION}
//       Appends a rule; the first that matches a request applies. No "match" matches all; "key" is the sort key of
//       Key or Item; "nth": from the k-th match on; "times" -1: for ever.
//   {"cmd":"clear-faults","proxy":ID}                       rules and seed
//   {"cmd":"seed","proxy":ID,"seed":S,"rates":{"drop":0.01,"delay":{"rate":0.1,"ms":30}},"op":..|null}
//       or "rates":[{"do":NAME,"rate":0.01,...},...]: one action with several settings.
//       Chance, where no rule matched: by seed, operation, key and how often that came, whatever the threads do.
//   {"cmd":"let-go","proxy":ID[,"op":..]}                   releases what hold holds → {"released":n}
//
//   {"cmd":"metadata"[,"host":"169.254.169.254"],SETTINGS} → {"proxy":ID,"port":N}
//       The services that hand out credentials, on one listener: a container's endpoint, instance metadata, STS and
//       the SSO portal; see metadata.mjs, which also has the SETTINGS. It is named by "proxy" in all commands above.
//       At an address of 169.254/16 it listens on port 80, on an address that is put on lo if nothing else is up;
//       while another test has that address, the answer waits. Operations: container, imds-token, imds-role,
//       imds-credentials, imds-region, AssumeRole, AssumeRoleWithWebIdentity, sso.
//
//   ACTION: a name, or {"do":NAME,...}; "as":TEXT is the name under which it is counted and logged:
//     drop              forwards, then closes without an answer
//     drop-before       closes without forwarding
//     reset             RST; "when":"after" (default: forwarded) | "before"
//     delay             "ms":100,"where":"answer" (default) | "request"
//     hold              until let-go; "where" as above. The request is delivered even if the client has gone
//     blackhole         never answers, keeps the connection; "forward":false
//     status            answers itself: "status":500,"type","message","body","headers"; "forward":true forwards first
//     throttle          400 ProvisionedThroughputExceededException; "type":"ThrottlingException" etc.
//     truncate          cuts the body after "bytes" (default half), then closes
//     wrong-crc, no-crc the checksum header wrong, absent
//     rewrite           changes the server's answer: "status","body" (text or JSON),"headers":{},"remove-headers":[]
//     date              Date as "offset_ms" from the true clock; null or absent: none
//     twice             delivers twice; "answer":"second" (default) | "first"
//     late              closes at once, delivers after "ms":1000
//     close-after       answers as if to keep the connection, then closes it
//     trickle           the body in pieces of "bytes":1, "ms":50 between them
//     garbage           sends "text" instead of HTTP, then closes
//
//   {"cmd":"table","server":..,"name":..[,"ttl":true]} → {"ttl":bool}    the standard table, ACTIVE; with TTL if asked for
//   {"cmd":"raw","server":..,"op":"GetItem","input":{...}}  → {"result":{...}} or {"error":NAME,"message","item"?}
//       Any operation with AWS's client, past the proxies; DynamoDB JSON, bytes as base64.
//   {"cmd":"go","server":..,"table":..,"partition":..,"client":"a","call":CALL,"key":..., OPTIONS} →
//       {"record":{"partition","key","version","expires","payload","value"}} | {"records":[..]} | {"exists":bool} | {}
//       or {"error":"key not found in table" | "key already exists in table" | "key has been modified" |
//       "failed to acquire lock" | a service error's name}
//       Exactly the Go library's requests. A client of a name remembers the last record of each key. CALL:
//       put, get, exists, list ("prefix"), delete,
//       atomic-put (previous: the last record; "version":N another's; "create":true none), atomic-create, atomic-delete,
//       lock ("renew":true goes on renewing every ttl/3; "poll":false fails at once; "poll_ms":3000; "timeout_ms":30000),
//       renew (once), stop-renewal, held ({"renewing":bool}), unlock.
//       OPTIONS: "value":"text" (base64 in S), "payload":{attribute value}, "ttl":seconds (20; null: never expires),
//       "now_offset_s":N (its clock), "consistent":false.
//   {"cmd":"servers"} → {"servers":{"local":PORT,...}}
import net from 'node:net';
import readline from 'node:readline';
import { parseArgs } from 'node:util';
import { Database } from './database.mjs';
import { GoClient } from './go.mjs';
import { Metadata, takeAddress } from './metadata.mjs';
import { Proxy, monotonicMs } from './proxy.mjs';
import { startServers } from './servers.mjs';

const { values: options } = parseArgs({
  options: { servers: { type: 'string', default: 'local,dynalite' } },
});
const names = options.servers.split(',').filter(Boolean);
const proxies = new Map();
let lastProxy = 0;
let servers = null;
let databases = {};

function serverOf({ server }) {
  if (!servers[server]?.port) throw new Error(`no such server here: ${server}`);
  return server;
}

function proxyOf({ proxy }) {
  if (!proxies.has(proxy)) throw new Error(`no such proxy: ${proxy}`);
  return proxies.get(proxy);
}

function goClient(connection, message) {
  const { server, table, partition, client = 'go' } = message;
  const name = JSON.stringify([server, table, partition, client]);
  if (!connection.clients.has(name))
    connection.clients.set(name, new GoClient(databases[serverOf(message)], table, partition));
  return connection.clients.get(name);
}

async function newProxy(message, connection) {
  const proxy = new Proxy(servers[serverOf(message)], message);
  if (message.metadata !== undefined) proxy.issuer = proxyOf({ proxy: message.metadata });
  return opened(proxy, connection);
}

async function newMetadata(message, connection) {
  const fake = new Metadata(message);
  fake.giveBack = await takeAddress(message.host);
  return opened(fake, connection);
}

async function opened(proxy, connection) {
  await proxy.open();
  lastProxy += 1;
  proxies.set(lastProxy, proxy);
  connection.proxies.add(lastProxy);
  return { proxy: lastProxy, port: proxy.port };
}

async function closeProxy(id) {
  const proxy = proxies.get(id);
  proxies.delete(id);
  await proxy?.close();
}

function log(message) {
  const { log: all } = proxyOf(message);
  const wanted = message.op ? all.filter(entry => entry.op === message.op) : all;
  return { log: message.last ? wanted.slice(-message.last) : wanted, now_ms: monotonicMs() };
}

const nothing = done => done ?? {};

const COMMANDS = {
  proxy: newProxy,
  metadata: newMetadata,
  set: message => nothing(proxyOf(message).set(message)),
  close: async message => nothing(proxyOf(message) && (await closeProxy(message.proxy))),
  shut: async message => nothing(await proxyOf(message).shut()),
  open: async message => nothing(await proxyOf(message).open()),
  'hang-up': message => ({ closed: proxyOf(message).hangUp() }),
  counts: message => proxyOf(message).counts(),
  'reset-counts': message => nothing(proxyOf(message).resetCounts()),
  log,
  wait: async message => ({ count: await proxyOf(message).tally.wait(message) }),
  fault: message => nothing(proxyOf(message).faults.add(message)),
  'clear-faults': message => nothing(proxyOf(message).faults.clear()),
  seed: message => nothing(proxyOf(message).faults.seed(message)),
  'let-go': message => ({ released: proxyOf(message).letGo(message.op) }),
  table: message => databases[serverOf(message)].table(message.name, message.ttl === true),
  raw: message => databases[serverOf(message)].raw(message.op, message.input),
  go: (message, connection) => goClient(connection, message).call(message.call, message.key, message),
  servers: () => ({ servers: ports() }),
};

async function answer(line, connection) {
  try {
    const message = JSON.parse(line);
    const command = Object.hasOwn(COMMANDS, message.cmd) ? COMMANDS[message.cmd] : null;
    if (!command) throw new Error(`no such command: ${message.cmd}`);
    return { ok: true, ...(await command(message, connection)) };
  } catch (error) {
    return { ok: false, error: error.message };
  }
}

async function control(socket) {
  const connection = { proxies: new Set(), clients: new Map() };
  socket.setNoDelay(true);
  socket.on('error', () => {});
  socket.on('close', () => {
    for (const client of connection.clients.values()) client.close();
    for (const id of connection.proxies) closeProxy(id);
  });
  for await (const line of readline.createInterface({ input: socket })) {
    const reply = await answer(line, connection);
    if (!socket.destroyed) socket.write(`${JSON.stringify(reply)}\n`);
  }
  socket.end();
}

function ports() {
  return Object.fromEntries(names.map(name => [name, servers[name].port]));
}

async function end(code, text) {
  if (text) process.stderr.write(`rig: ${text}\n`);
  await servers?.stop();
  process.exit(code);
}

async function start() {
  servers = await startServers(names, text => end(1, text));
  databases = Object.fromEntries(names.map(name => [name, new Database(servers[name].port)]));
  const listener = net.createServer(socket => control(socket).catch(() => socket.destroy()));
  listener.listen(0, '127.0.0.1', () => {
    process.stdout.write(`${JSON.stringify({ control: listener.address().port, ...ports() })}\n`);
  });
}

const starting = start();
const stopped = () =>
  starting.then(
    () => end(0),
    () => end(1),
  );
process.stdin.on('end', stopped).on('error', stopped).resume();
process.on('SIGTERM', stopped);
process.on('SIGINT', stopped);
starting.catch(error => end(1, error.message));

// SPDX-License-Identifier: Apache-2.0
// A proxy between one test and a server: judges, counts and logs each request, and does the faults it is told to.
import http from 'node:http';
import { ACTIONS } from './actions.mjs';
import { ownAnswer, parsed, serverAnswer, setHeader } from './answer.mjs';
import { Faults } from './faults.mjs';
import { judge } from './sign.mjs';
import { violations } from './strict.mjs';
import { Tally } from './tally.mjs';

const LOG_LENGTH = 1000;
const BODY_LIMIT = 16 * 1024 * 1024;
const SERVICE_IDLE_MS = 60_000;
const DATES = ['clock', 'server', 'none'];

// Kept connections are given up well before either server would close them.
const upstream = new http.Agent({ keepAlive: true, timeout: 15_000 });

export const KEY_ID = 'AKIDEXAMPLE000000001';
export const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';

// The environment of a client of the proxy at that port.
export const clientOf = port => ({
  AWS_REGION: 'us-east-1',
  AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${port}`,
  AWS_ACCESS_KEY_ID: KEY_ID,
  AWS_SECRET_ACCESS_KEY: SECRET,
});

// CLOCK_MONOTONIC, as the log has it.
export const monotonicMs = () => Number(process.hrtime.bigint() / 1000n) / 1000;

async function collect(stream) {
  const parts = [];
  let size = 0;
  for await (const part of stream) {
    size += part.length;
    if (size > BODY_LIMIT) throw new Error('the body is too large');
    parts.push(part);
  }
  return Buffer.concat(parts, size);
}

function lowerCased(rawHeaders) {
  const headers = {};
  for (let i = 0; i < rawHeaders.length; i += 2) headers[rawHeaders[i].toLowerCase()] = rawHeaders[i + 1];
  return headers;
}

function sortKeyOf(body) {
  return (body?.Key ?? body?.Item)?.name?.S ?? null;
}

function forward(port, { method, path, headers, body }) {
  return new Promise((done, fail) => {
    const { connection: _, ...others } = headers;
    const request = http.request(
      { host: '127.0.0.1', port, method, path, agent: upstream, headers: others },
      response => {
        collect(response).then(bytes => done(serverAnswer(response, bytes)), fail);
      },
    );
    request.on('error', fail);
    request.end(body);
  });
}

// One request of a client and what becomes of it.
class Exchange {
  constructor(proxy, req, res, body) {
    Object.assign(this, { proxy, req, res });
    const headers = lowerCased(req.rawHeaders);
    this.request = {
      method: req.method,
      path: req.url,
      version: req.httpVersion,
      rawHeaders: req.rawHeaders,
      headers,
      body,
    };
    this.bad = proxy.objections(this.request);
    const input = parsed(body);
    this.op = proxy.operation(this.request);
    this.key = sortKeyOf(input);
    this.entry = {
      n: (proxy.number += 1),
      connection: req.socket.number,
      op: this.op,
      key: this.key,
      request: input,
      arrived_ms: monotonicMs(),
      forwarded: 0,
      fault: null,
      status: null,
      answer: null,
      answered_ms: null,
    };
  }

  count(state) {
    this.proxy.tally.add(state, this.op, this.key);
  }

  async origin() {
    return this.proxy.dated(await this.proxy.answer(this));
  }

  held() {
    return new Promise(done => {
      this.proxy.holds.push({ op: this.op, release: done });
      this.count('held');
    });
  }

  head(answer) {
    const { res, req, entry } = this;
    entry.status = answer.status;
    entry.answer = parsed(answer.body);
    res.sendDate = false;
    res.shouldKeepAlive = req.headers.connection?.toLowerCase() !== 'close';
    const headers = {
      ...answer.headers,
      'Content-Length': answer.body.length,
      Connection: res.shouldKeepAlive ? 'keep-alive' : 'close',
    };
    res.writeHead(answer.status, Object.entries(headers).flat());
  }

  sent() {
    this.entry.answered_ms = monotonicMs();
    this.count('answered');
  }

  get gone() {
    return this.req.socket.destroyed;
  }

  send(answer, then) {
    if (this.gone) return;
    this.head(answer);
    this.res.end(answer.body, then);
    this.sent();
  }

  cut(answer, bytes) {
    if (this.gone) return;
    this.head(answer);
    this.res.write(answer.body.subarray(0, bytes), () => this.req.socket.end());
  }

  async trickle(answer, bytes, pause) {
    if (this.gone) return;
    this.head(answer);
    for (let at = 0; at < answer.body.length && !this.gone; at += bytes) {
      this.res.write(answer.body.subarray(at, at + bytes));
      await pause();
    }
    if (this.gone) return;
    this.res.end();
    this.sent();
  }

  raw(text) {
    this.req.socket.end(text);
  }

  close() {
    this.req.socket.destroy();
  }

  reset() {
    this.req.socket.resetAndDestroy();
  }
}

export class Proxy {
  constructor(server, settings) {
    this.serverPort = server.port;
    Object.assign(this, {
      verify: true,
      region: null,
      skewMs: 0,
      date: 'clock',
      secrets: { [KEY_ID]: SECRET },
      tokens: {},
      expiries: {},
    });
    Object.assign(this, {
      closed: false,
      sockets: new Set(),
      connections: 0,
      holds: [],
      faults: new Faults(),
      tally: new Tally(),
      idleMs: SERVICE_IDLE_MS,
    });
    this.resetCounts();
    this.set(settings);
  }

  set(settings) {
    if (settings.date !== undefined && !DATES.includes(settings.date))
      throw new Error(`date is one of ${DATES}`);
    this.verify = settings.verify ?? this.verify;
    this.region = settings.region ?? this.region;
    this.secrets = settings.secrets ?? this.secrets;
    this.tokens = settings.tokens ?? this.tokens;
    this.expiries = settings.expiries ?? this.expiries;
    this.skewMs = settings.skew_ms ?? this.skewMs;
    this.date = settings.date ?? this.date;
    this.idleMs = settings.idle_ms ?? this.idleMs;
    if (this.http) this.http.keepAliveTimeout = this.idleMs;
  }

  resetCounts() {
    this.tally.reset();
    Object.assign(this, { number: 0, refused: 0, connections: 0, violations: [], log: [], applied: {} });
  }

  now() {
    return Date.now() + this.skewMs;
  }

  keys() {
    const own = Object.entries(this.secrets).map(([id, secret]) => [
      id,
      { secret, token: this.tokens[id], expires: this.expiries[id] },
    ]);
    return { ...Object.fromEntries(own), ...this.issuer?.issued() };
  }

  objections(request) {
    return violations(request);
  }

  operation({ headers }) {
    return headers['x-amz-target']?.split('.')[1] ?? '?';
  }

  async answer(exchange) {
    const { request, bad, entry } = exchange;
    if (bad.length) return ownAnswer(400, { __type: 'rig#Violation', message: bad.join('; ') });
    const refused = this.verify ? await judge(request, this.keys(), this.now(), this.region) : null;
    if (refused) {
      this.refused += 1;
      return ownAnswer(refused.status, { __type: refused.type, message: refused.message });
    }
    if (this.closed) throw new Error('the proxy is closed');
    const answer = await forward(this.serverPort, request);
    entry.forwarded += 1;
    exchange.count('forwarded');
    return answer;
  }

  dated(answer) {
    if (this.date === 'clock') setHeader(answer, 'Date', new Date(this.now()).toUTCString());
    if (this.date === 'none') setHeader(answer, 'Date', null);
    return answer;
  }

  // Listens on the port it had before, if any.
  async open() {
    this.http = http.createServer({ keepAliveTimeout: this.idleMs, keepAliveTimeoutBuffer: 0 }, (req, res) =>
      this.serve(req, res),
    );
    this.http.on('checkContinue', (req, res) => this.serve(req, res));
    this.http.on('checkExpectation', (req, res) => this.serve(req, res));
    this.http.on('connection', socket => this.accepted(socket));
    this.http.on('clientError', (error, socket) => this.unreadable(error, socket));
    this.http.listen(this.port ?? 0, this.host ?? '127.0.0.1');
    await new Promise((done, fail) => this.http.once('listening', done).once('error', fail));
    this.port = this.http.address().port;
  }

  accepted(socket) {
    socket.number = this.connections += 1;
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
  }

  unreadable(error, socket) {
    if (error.code?.startsWith('HPE_') && error.code !== 'HPE_INVALID_EOF_STATE')
      this.violations.push(`not HTTP: ${error.message}`);
    socket.destroy();
  }

  async serve(req, res) {
    let exchange;
    try {
      exchange = new Exchange(this, req, res, await collect(req));
    } catch {
      return; // the client went away in the middle of its request
    }
    this.log.push(exchange.entry);
    if (this.log.length > LOG_LENGTH) this.log.shift();
    this.violations.push(...exchange.bad.map(text => `${exchange.op}: ${text}`));
    exchange.count('arrived');
    const action = this.faults.pick(exchange.op, exchange.key);
    try {
      if (action) await this.apply(exchange, action);
      else exchange.send(await exchange.origin());
    } catch (error) {
      if (!this.closed) this.violations.push(`rig: ${exchange.op}: ${error.message}`);
      exchange.close();
    }
    exchange.count('finished');
  }

  async apply(exchange, action) {
    const name = action.as ?? action.do;
    exchange.entry.fault = name;
    this.applied[name] = (this.applied[name] ?? 0) + 1;
    await ACTIONS[action.do](exchange, action);
  }

  letGo(op = null) {
    const going = this.holds.filter(hold => op === null || hold.op === op);
    this.holds = this.holds.filter(hold => !going.includes(hold));
    for (const hold of going) hold.release();
    return going.length;
  }

  counts() {
    const { tally } = this;
    return {
      counts: tally.byOperation('arrived'),
      total: tally.count('arrived'),
      forwarded: tally.count('forwarded'),
      answered: tally.count('answered'),
      refused: this.refused,
      connections: this.connections,
      open: this.sockets.size,
      held: this.holds.length,
      faults: this.applied,
      violations: this.violations,
    };
  }

  // Closes what is open; a half-open request is lost. Returns how many connections there were.
  hangUp() {
    const count = this.sockets.size;
    for (const socket of this.sockets) socket.destroy();
    return count;
  }

  // From now on connecting is refused, until open() is called again.
  async shut() {
    const closed = new Promise(done => this.http.close(done));
    this.hangUp();
    await closed;
  }

  async close() {
    this.closed = true;
    await this.shut();
  }
}

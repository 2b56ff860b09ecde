// SPDX-License-Identifier: Apache-2.0
// Tests of the test rig itself: node --test test/rig.test.mjs
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import aws4 from 'aws4';
import { GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { connectRig, startRig } from './rig/client.mjs';
import { newClient } from './rig/database.mjs';
import { KEY_ID, SECRET } from './rig/proxy.mjs';
import { twiceNamed } from './rig/strict.mjs';

const TABLE = 'rig';
const SERVERS = ['local', 'dynalite'];
let rig;
let control;

before(async () => {
  rig = await startRig();
  control = await connectRig(rig.ports.control);
  for (const server of SERVERS) await control.ask({ cmd: 'table', server, name: TABLE });
});

after(async () => {
  control?.close();
  await rig?.stop();
});

const item = (key, more = {}) => ({ id: { S: 'p' }, name: { S: key }, ...more });
const putBody = (key, more) => JSON.stringify({ TableName: TABLE, Item: item(key, more) });
const getBody = key => JSON.stringify({ TableName: TABLE, Key: item(key), ConsistentRead: true });

async function newProxy(settings = {}) {
  const made = await control.ask({ cmd: 'proxy', server: 'local', ...settings });
  return { ...made, ask: (cmd, more = {}) => control.ask({ cmd, proxy: made.proxy, ...more }) };
}

// A request as a careful client of its own would make it, signed by a second signer.
function signedRequest(
  port,
  op,
  body,
  { headers = {}, keys = {}, change = () => {}, signedBody = body } = {},
) {
  const request = {
    host: `127.0.0.1:${port}`,
    method: 'POST',
    path: '/',
    service: 'dynamodb',
    region: 'us-east-1',
    body: signedBody,
    headers: {
      Host: `127.0.0.1:${port}`,
      'Content-Type': 'application/x-amz-json-1.0',
      'X-Amz-Target': `DynamoDB_20120810.${op}`,
      ...headers,
    },
  };
  aws4.sign(request, { accessKeyId: KEY_ID, secretAccessKey: SECRET, ...keys });
  request.headers['Content-Length'] = Buffer.byteLength(body);
  change(request.headers);
  const lines = Object.entries(request.headers).flatMap(([name, value]) =>
    [value].flat().map(one => `${name}: ${one}\r\n`),
  );
  return `POST / HTTP/1.1\r\n${lines.join('')}\r\n${body}`;
}

// Sends text; → what comes until the connection ends or a whole answer is there, and how it ended.
function exchange(port, text, { timeout = 5000, whole = true } = {}) {
  return new Promise(done => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(text));
    let bytes = Buffer.alloc(0);
    const finish = end => {
      socket.destroy();
      const at = bytes.indexOf('\r\n\r\n');
      const head = at < 0 ? '' : bytes.subarray(0, at).toString();
      const headers = Object.fromEntries(
        head
          .split('\r\n')
          .slice(1)
          .map(line => line.split(/: (.*)/s))
          .map(([n, v]) => [n.toLowerCase(), v]),
      );
      done({
        end,
        bytes,
        status: Number(head.split(' ')[1]),
        headers,
        body: at < 0 ? null : bytes.subarray(at + 4),
      });
    };
    socket.setTimeout(timeout, () => finish('timeout'));
    socket.on('data', data => {
      bytes = Buffer.concat([bytes, data]);
      const at = bytes.indexOf('\r\n\r\n');
      const length =
        at < 0 ? NaN : Number(/content-length: (\d+)/i.exec(bytes.subarray(0, at).toString())?.[1]);
      if (whole && bytes.length >= at + 4 + length) finish('whole');
    });
    socket.on('end', () => finish('closed'));
    socket.on('error', error => finish(error.code));
  });
}

const call = (proxy, op, body, how = {}) =>
  exchange(proxy.port, signedRequest(proxy.port, op, body, how), how);
const typeOf = answer => JSON.parse(answer.body).__type.split('#').pop();

async function stored(server, key) {
  const { result } = await control.ask({
    cmd: 'raw',
    server,
    op: 'GetItem',
    input: { TableName: TABLE, Key: item(key), ConsistentRead: true },
  });
  return result.Item ?? null;
}

for (const server of SERVERS) {
  test(`AWS's client works through the proxy to ${server}`, async () => {
    const proxy = await newProxy({ server });
    const client = newClient(proxy.port);
    await client.send(
      new PutItemCommand({ TableName: TABLE, Item: item('sdk', { b: { B: Buffer.from([0, 255]) } }) }),
    );
    const { Item } = await client.send(new GetItemCommand({ TableName: TABLE, Key: item('sdk') }));
    assert.deepEqual([...Item.b.B], [0, 255]);
    assert.deepEqual((await stored(server, 'sdk')).b, { B: 'AP8=' });
    const counts = await proxy.ask('counts');
    assert.deepEqual(counts.counts, { PutItem: 1, GetItem: 1 });
    assert.deepEqual([counts.total, counts.forwarded, counts.answered, counts.connections], [2, 2, 2, 1]);
    assert.deepEqual(counts.violations, []);
    client.destroy();
  });

  test(`${server}'s answers have the headers that the service sends`, async () => {
    const proxy = await newProxy({ server });
    for (const [op, body, status] of [
      ['GetItem', getBody('none'), 200],
      ['Nope', '{}', 400],
    ]) {
      const answer = await call(proxy, op, body);
      assert.equal(answer.status, status);
      assert.equal(Number(answer.headers['x-amz-crc32']), crc32(answer.body));
      assert.ok(answer.headers['x-amzn-requestid'].length > 30);
      assert.ok(Math.abs(Date.parse(answer.headers.date) - Date.now()) < 3000);
      assert.equal(answer.headers.connection, 'keep-alive');
    }
  });
}

describe('what the proxy refuses', () => {
  const refused = async (proxy, how, type, op = 'GetItem') => {
    const answer = await call(proxy, op, getBody('x'), how);
    assert.equal(answer.status, 400);
    assert.equal(typeOf(answer), type, answer.body.toString());
    assert.equal((await proxy.ask('counts')).forwarded, 0);
    return JSON.parse(answer.body).message;
  };

  test('a wrong secret, an unknown key, a changed body', async () => {
    const proxy = await newProxy();
    await refused(proxy, { keys: { secretAccessKey: 'wrong' } }, 'InvalidSignatureException');
    await refused(proxy, { keys: { accessKeyId: 'AKIDUNKNOWN' } }, 'UnrecognizedClientException');
    await refused(proxy, { signedBody: getBody('y') }, 'InvalidSignatureException');
    await refused(
      proxy,
      {
        change: headers => {
          delete headers.Authorization;
        },
      },
      'MissingAuthenticationTokenException',
    );
    assert.equal((await proxy.ask('counts')).refused, 4);
  });

  test('a clock that is more than 5 minutes off, and says what time it is', async () => {
    const ahead = await newProxy({ skew_ms: 301_000 });
    assert.match(
      await refused(ahead, {}, 'InvalidSignatureException'),
      /^Signature expired: \d{8}T\d{6}Z is now earlier than/,
    );
    const behind = await newProxy({ skew_ms: -302_000 });
    assert.match(await refused(behind, {}, 'InvalidSignatureException'), /^Signature not yet current:/);
    const answer = await call(behind, 'GetItem', getBody('x'));
    assert.ok(Math.abs(Date.parse(answer.headers.date) - (Date.now() - 302_000)) < 3000);
    await behind.ask('set', { skew_ms: -290_000 });
    assert.equal((await call(behind, 'GetItem', getBody('x'))).status, 200);
  });

  test('a token that is missing, wrong or not signed', async () => {
    const proxy = await newProxy({ tokens: { [KEY_ID]: 'token/+=' } });
    await refused(proxy, {}, 'UnrecognizedClientException');
    await refused(proxy, { keys: { sessionToken: 'other' } }, 'UnrecognizedClientException');
    await refused(
      proxy,
      {
        change: headers => {
          headers['X-Amz-Security-Token'] = 'token/+=';
        },
      },
      'Violation',
    );
    assert.equal(
      (await call(proxy, 'GetItem', getBody('x'), { keys: { sessionToken: 'token/+=' } })).status,
      200,
    );
  });

  test('what is no proper request, and says so', async () => {
    const cases = [
      [
        headers => {
          headers['X-Amz-Meta'] = 'a';
        },
        /x-amz-meta is not signed/,
      ],
      [
        headers => {
          headers.Expect = '100-continue';
        },
        /Expect/,
      ],
      [
        headers => {
          headers['Accept-Encoding'] = 'gzip';
        },
        /Accept-Encoding/,
      ],
      [
        headers => {
          headers['User-Agent'] = ['a', 'b'];
        },
        /user-agent is there twice/,
      ],
      [
        headers => {
          headers['Content-Type'] = 'application/json';
        },
        /Content-Type/,
      ],
      [
        headers => {
          delete headers['X-Amz-Target'];
        },
        /X-Amz-Target/,
      ],
    ];
    for (const [change, text] of cases) {
      const proxy = await newProxy();
      assert.match(await refused(proxy, { change }, 'Violation'), text);
      assert.match((await proxy.ask('counts')).violations.join(), text);
    }
    const proxy = await newProxy();
    const good = signedRequest(proxy.port, 'GetItem', getBody('x'));
    const chunk = Buffer.byteLength(getBody('x')).toString(16);
    for (const bad of [
      good.replace('POST / ', 'POST /x '),
      good.replace('HTTP/1.1', 'HTTP/1.0'),
      good.replace('POST', 'PUT'),
      good
        .replace(/Content-Length: \d+\r\n/, 'Transfer-Encoding: chunked\r\n')
        .replace(/\r\n\r\n(.*)$/, `\r\n\r\n${chunk}\r\n$1\r\n0\r\n\r\n`),
    ]) {
      assert.equal(typeOf(await exchange(proxy.port, bad)), 'Violation');
    }
    assert.equal((await proxy.ask('counts')).forwarded, 0);
  });

  test('a body that is not JSON, or names something twice', async () => {
    assert.equal(twiceNamed('{"a":{"b":[{"c":1},{"c":"\\"a\\":"}]},"b":2}'), null);
    assert.equal(twiceNamed('{"a":{"b":1,"b":2}}'), 'b');
    assert.equal(twiceNamed('[{"\\u0061":1,"a":2}]'), 'a');
    const proxy = await newProxy();
    assert.equal(typeOf(await call(proxy, 'GetItem', '{')), 'Violation');
    assert.equal(typeOf(await call(proxy, 'GetItem', '{"a":1,"a":1}')), 'Violation');
  });
});

describe('faults', () => {
  const faulty = async (action, match) => {
    const proxy = await newProxy();
    await proxy.ask('fault', { action, match });
    return proxy;
  };

  const counted = async (action, key, { end, forwarded, ...how }) => {
    const proxy = await faulty(action);
    const answer = await call(proxy, 'PutItem', putBody(key), how);
    await proxy.ask('wait', { state: 'finished' });
    assert.equal(answer.end, end);
    const counts = await proxy.ask('counts');
    assert.equal(counts.forwarded, forwarded);
    assert.deepEqual(counts.violations, []);
    assert.equal((await stored('local', key)) !== null, forwarded > 0);
    assert.equal((await call(proxy, 'GetItem', getBody(key))).status, 200);
    return answer;
  };

  test('drop, drop-before, reset, blackhole', async () => {
    await counted('drop', 'f1', { end: 'closed', forwarded: 1 });
    await counted('drop-before', 'f2', { end: 'closed', forwarded: 0 });
    await counted('reset', 'f3', { end: 'ECONNRESET', forwarded: 1 });
    await counted({ do: 'reset', when: 'before' }, 'f4', { end: 'ECONNRESET', forwarded: 0 });
    await counted('blackhole', 'f5', { end: 'timeout', forwarded: 0, timeout: 150 });
    await counted({ do: 'blackhole', forward: true }, 'f6', { end: 'timeout', forwarded: 1, timeout: 400 });
  });

  test('status and throttle', async () => {
    assert.equal((await counted('status', 's1', { end: 'whole', forwarded: 0 })).status, 500);
    assert.equal(
      (await counted({ do: 'status', status: 503, forward: true }, 's2', { end: 'whole', forwarded: 1 }))
        .status,
      503,
    );
    assert.equal(
      typeOf(await counted('throttle', 's3', { end: 'whole', forwarded: 0 })),
      'ProvisionedThroughputExceededException',
    );
    const odd = await counted(
      { do: 'status', status: 502, body: '<html>', headers: { 'Content-Type': 'text/html' } },
      's4',
      { end: 'whole', forwarded: 0 },
    );
    assert.deepEqual([odd.body.toString(), odd.headers['content-type']], ['<html>', 'text/html']);
  });

  test('truncate, wrong-crc, no-crc, rewrite, date, garbage, close-after, trickle', async () => {
    const cut = await counted('truncate', 'a1', { end: 'closed', forwarded: 1 });
    assert.equal(cut.body.length, Math.floor(Number(cut.headers['content-length']) / 2));
    const wrong = await counted('wrong-crc', 'a2', { end: 'whole', forwarded: 1 });
    assert.equal(Number(wrong.headers['x-amz-crc32']), (crc32(wrong.body) ^ 1) >>> 0);
    assert.equal(
      (await counted('no-crc', 'a3', { end: 'whole', forwarded: 1 })).headers['x-amz-crc32'],
      undefined,
    );
    const rewritten = await counted(
      { do: 'rewrite', status: 299, body: 'text', headers: { 'X-A': 'b' }, 'remove-headers': ['date'] },
      'a4',
      { end: 'whole', forwarded: 1 },
    );
    assert.deepEqual(
      [rewritten.status, rewritten.body.toString(), rewritten.headers['x-a'], rewritten.headers.date],
      [299, 'text', 'b', undefined],
    );
    const dated = await counted({ do: 'date', offset_ms: 3_600_000 }, 'a5', { end: 'whole', forwarded: 1 });
    assert.ok(Math.abs(Date.parse(dated.headers.date) - Date.now() - 3_600_000) < 3000);
    assert.equal((await counted('date', 'a6', { end: 'whole', forwarded: 1 })).headers.date, undefined);
    assert.equal(
      (await counted('garbage', 'a7', { end: 'closed', forwarded: 0, whole: false })).bytes.toString(),
      'this is no HTTP\r\n\r\n',
    );
    const last = await counted('close-after', 'a8', { end: 'closed', forwarded: 1, whole: false });
    assert.deepEqual([last.headers.connection, last.body.toString()], ['keep-alive', '{}']);
    assert.equal(
      (await counted({ do: 'trickle', ms: 1 }, 'a9', { end: 'whole', forwarded: 1 })).body.toString(),
      '{}',
    );
  });

  test('twice answers the second, or the first', async () => {
    const condition = key =>
      JSON.stringify({ TableName: TABLE, Item: item(key), ConditionExpression: 'attribute_not_exists(id)' });
    const second = await call(await faulty('twice'), 'PutItem', condition('t1'));
    assert.equal(typeOf(second), 'ConditionalCheckFailedException');
    const first = await call(await faulty({ do: 'twice', answer: 'first' }), 'PutItem', condition('t2'));
    assert.equal(first.status, 200);
  });

  test('late delivers after the client was told nothing', async () => {
    const proxy = await faulty({ do: 'late', ms: 50 });
    assert.equal((await call(proxy, 'PutItem', putBody('late'))).end, 'closed');
    assert.equal(await stored('local', 'late'), null);
    await proxy.ask('wait', { state: 'forwarded', op: 'PutItem' });
    assert.notEqual(await stored('local', 'late'), null);
  });

  test('delay and hold, at the request and at the answer', async () => {
    const start = Date.now();
    await counted({ do: 'delay', ms: 60 }, 'd1', { end: 'whole', forwarded: 1 });
    assert.ok(Date.now() - start >= 59);
    for (const where of ['request', 'answer']) {
      const proxy = await faulty({ do: 'hold', where }, { op: 'PutItem' });
      const answer = call(proxy, 'PutItem', putBody(`h-${where}`));
      await proxy.ask('wait', { state: 'held', op: 'PutItem' });
      assert.equal((await stored('local', `h-${where}`)) !== null, where === 'answer');
      assert.equal((await proxy.ask('let-go')).released, 1);
      assert.equal((await answer).status, 200);
    }
  });

  test('rules: op, key, nth, times, for ever, clear', async () => {
    const proxy = await newProxy();
    const status = async key => (await call(proxy, 'PutItem', putBody(key))).status;
    await proxy.ask('fault', { match: { op: 'GetItem' }, times: -1, action: 'status' });
    await proxy.ask('fault', {
      match: { op: 'PutItem', key: 'r', nth: 2 },
      times: 2,
      action: { do: 'status', status: 503 },
    });
    assert.deepEqual(
      [await status('r'), await status('other'), await status('r'), await status('r'), await status('r')],
      [200, 200, 503, 503, 200],
    );
    assert.equal((await call(proxy, 'GetItem', getBody('r'))).status, 500);
    assert.equal((await call(proxy, 'GetItem', getBody('r'))).status, 500);
    await proxy.ask('clear-faults');
    assert.equal((await call(proxy, 'GetItem', getBody('r'))).status, 200);
    await assert.rejects(proxy.ask('fault', { action: 'nonsense' }), /no such action/);
  });

  test('chance is the same for the same seed', async () => {
    const runs = [];
    for (const seed of [7, 7, 8]) {
      const proxy = await newProxy();
      await proxy.ask('seed', { seed, rates: { status: 0.4, delay: { rate: 0.2, ms: 1 } } });
      for (let i = 0; i < 30; i += 1) await call(proxy, 'GetItem', getBody(`c${i % 5}`));
      runs.push((await proxy.ask('log')).log.map(entry => entry.fault));
    }
    assert.deepEqual(runs[0], runs[1]);
    assert.notDeepEqual(runs[0], runs[2]);
    assert.ok(runs[0].filter(fault => fault === 'status').length > 3);
  });
});

test('connections: kept, idle, hung up, shut and opened again; the log tells', async () => {
  const proxy = await newProxy({ idle_ms: 100 });
  const client = newClient(proxy.port);
  const get = () => client.send(new GetItemCommand({ TableName: TABLE, Key: item('x') }));
  await get();
  await get();
  assert.equal((await proxy.ask('counts')).connections, 1);
  while ((await proxy.ask('counts')).open > 0) await new Promise(done => setTimeout(done, 20));
  await get();
  assert.equal((await proxy.ask('hang-up')).closed, 1);
  const { log, now_ms: now } = await proxy.ask('log', { op: 'GetItem' });
  assert.deepEqual(
    log.map(entry => entry.connection),
    [1, 1, 2],
  );
  assert.ok(log[0].arrived_ms <= log[0].answered_ms && log[2].answered_ms <= now);
  assert.deepEqual(
    [log[0].request.Key, log[0].status, log[0].answer, log[0].forwarded],
    [item('x'), 200, {}, 1],
  );
  await proxy.ask('shut');
  assert.equal((await call(proxy, 'GetItem', getBody('x'))).end, 'ECONNREFUSED');
  await proxy.ask('open');
  assert.equal((await call(proxy, 'GetItem', getBody('x'))).status, 200);
  await proxy.ask('reset-counts');
  assert.deepEqual([(await proxy.ask('counts')).total, (await proxy.ask('log')).log], [0, []]);
  client.destroy();
});

test('wait runs out with a reason; a wrong command is told', async () => {
  const proxy = await newProxy();
  await assert.rejects(
    proxy.ask('wait', { op: 'PutItem', count: 2, timeout_ms: 20 }),
    /timeout: 0 of 2 PutItem arrived/,
  );
  await assert.rejects(control.ask({ cmd: 'toString' }), /no such command/);
  await assert.rejects(control.ask({ cmd: 'counts', proxy: 99999 }), /no such proxy/);
});

test('a proxy ends with the connection that made it', async () => {
  const other = await connectRig(rig.ports.control);
  const made = await other.ask({ cmd: 'proxy', server: 'local' });
  other.close();
  while (await control.ask({ cmd: 'counts', proxy: made.proxy }).catch(() => null))
    await new Promise(setImmediate);
  assert.equal((await call(made, 'GetItem', getBody('x'))).end, 'ECONNREFUSED');
});

for (const server of SERVERS) {
  test(`the Go library's calls on ${server}`, async () => {
    const go = (client, name, key, more = {}) =>
      control.ask({ cmd: 'go', server, table: TABLE, partition: 'Go', client, call: name, key, ...more });
    const { record } = await go('a', 'lock', 'l', { value: 'test', ttl: 20 });
    assert.deepEqual([record.version, record.payload, record.value], [1, { S: 'dGVzdA==' }, 'test']);
    assert.ok(Math.abs(record.expires - Date.now() / 1000 - 20) < 2);
    assert.equal((await go('b', 'lock', 'l', { poll: false })).error, 'failed to acquire lock');
    assert.equal((await go('a', 'renew', 'l')).record.version, 2);
    assert.equal((await go('b', 'lock', 'l', { poll: false, now_offset_s: 25 })).record.version, 3);
    assert.equal((await go('a', 'renew', 'l')).error, 'key has been modified');
    assert.equal((await go('a', 'unlock', 'l')).error, 'key not found in table');
    assert.deepEqual(await go('b', 'unlock', 'l'), { ok: true });
    await go('a', 'put', 'k/1', { value: 'v', ttl: null });
    assert.equal((await go('a', 'get', 'k/1')).record.expires, 0);
    assert.deepEqual(
      (await go('a', 'list', 'k/')).records.map(one => one.key),
      ['k/1'],
    );
    assert.equal((await go('b', 'atomic-create', 'k/1')).error, 'key already exists in table');
    assert.equal((await go('b', 'atomic-put', 'k/1', { version: 1, value: 'w' })).record.version, 2);
    assert.equal((await go('a', 'atomic-delete', 'k/1')).error, 'key not found in table');
    await go('a', 'delete', 'k/1');
    assert.equal((await go('a', 'exists', 'k/1')).exists, false);
    assert.equal((await go('a', 'list', 'k/')).error, 'key not found in table');
    await go('c', 'lock', 'r', { ttl: 3, renew: true });
    assert.equal((await go('c', 'held', 'r')).renewing, true);
    while ((await go('d', 'get', 'r')).record.version < 2) await new Promise(done => setTimeout(done, 50));
    await go('c', 'unlock', 'r');
  });

  test(`a failed condition's Item on ${server}`, async () => {
    const input = {
      TableName: TABLE,
      Item: item('cond'),
      ConditionExpression: 'attribute_not_exists(id)',
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
    };
    await control.ask({ cmd: 'raw', server, op: 'PutItem', input });
    const failed = await control.ask({ cmd: 'raw', server, op: 'PutItem', input });
    assert.equal(failed.error, 'ConditionalCheckFailedException');
    assert.deepEqual(failed.item, server === 'local' ? item('cond') : undefined);
  });
}

describe('the services that hand out credentials', () => {
  const send = (port, { method = 'GET', path, headers = {}, body = '' }) =>
    new Promise((done, fail) => {
      const socket = net.connect(port, '127.0.0.1').on('error', fail);
      const all = { Host: `127.0.0.1:${port}`, 'User-Agent': 'dynalock/0', Connection: 'close', ...headers };
      const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
      let text = '';
      socket.on('data', data => (text += data)).on('close', () => done(text));
      socket.end(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
    });
  const ROLE_PATH = '/latest/meta-data/iam/security-credentials/';
  const TTL = { 'X-aws-ec2-metadata-token-ttl-seconds': '60' };
  const form = body => ({
    method: 'POST',
    path: '/',
    headers: { 'Content-Type': 'application/x-www-form-urlencoded', 'Content-Length': body.length },
    body,
  });
  const identity = more => form(`Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=r&WebIdentityToken=t${more}`);
  const violationsOf = async (request, settings = {}) => {
    const { proxy, port } = await control.ask({ cmd: 'metadata', ...settings });
    const text = await send(port, request);
    return { status: Number(text.split(' ')[1]), ...(await control.ask({ cmd: 'counts', proxy })) };
  };

  test('answer what is asked as it must be', async () => {
    const { proxy, port } = await control.ask({ cmd: 'metadata' });
    const token = await send(port, { method: 'PUT', path: '/latest/api/token', headers: TTL });
    const headers = { 'X-aws-ec2-metadata-token': token.split('\r\n\r\n')[1] };
    assert.match(await send(port, { path: ROLE_PATH, headers }), /^HTTP\/1.1 200 [^]*rig-role$/);
    assert.match(await send(port, { path: `${ROLE_PATH}rig-role`, headers }), /"Code":"Success"/);
    assert.match(await send(port, { path: '/creds' }), /"AccessKeyId":"ASIA/);
    assert.match(await send(port, identity('&RoleSessionName=me')), /<AccessKeyId>ASIA/);
    assert.deepEqual((await control.ask({ cmd: 'counts', proxy })).violations, []);
  });

  for (const [what, request, violation] of [
    ['metadata without a token', { path: ROLE_PATH }, /no token/],
    ['a token that was never given', { path: ROLE_PATH, headers: { 'X-aws-ec2-metadata-token': 'x' } }, /never given/],
    ['a token by GET', { path: '/latest/api/token', headers: TTL }, /method GET/],
    ['a proxy on the way', { path: '/creds', headers: { 'X-Forwarded-For': '::1' } }, /x-forwarded-for/],
    ['a header too many', { path: '/creds', headers: { Accept: '*/*' } }, /header accept/],
    ['another host', { path: '/creds', headers: { Host: 'example.org' } }, /Host/],
    ['a path of nobody', { path: '/latest/user-data' }, /nothing that is served/],
    ['a form without a name', identity(''), /RoleSessionName/],
    ['a form with a name twice', identity('&RoleSessionName=me&RoleSessionName=me'), /twice/],
    ['a form with a plus', identity('&RoleSessionName=a+b'), /strict encoding/],
  ]) {
    test(`refuse ${what}`, async () => {
      const { status, violations } = await violationsOf(request);
      assert.ok(status >= 400, `${status}`);
      assert.match(violations.join(), violation);
    });
  }
});

test('everything ends: by standard input, by signal, even by SIGKILL', async () => {
  const running = port => execFileSync('ps', ['-eo', 'args']).toString().includes(`-port ${port}`);
  const portsOf = ({ ports }) => Object.values(ports);
  const refused = port =>
    new Promise(done =>
      net
        .connect(port, '127.0.0.1')
        .on('connect', () => done(false))
        .on('error', () => done(true)),
    );
  for (const signal of [null, 'SIGTERM', 'SIGINT', 'SIGKILL']) {
    const other = await startRig();
    if (signal) other.child.kill(signal);
    else other.stop();
    await other.exited;
    for (let i = 0; i < 100 && running(other.ports.local); i += 1)
      await new Promise(done => setTimeout(done, 20));
    assert.equal(running(other.ports.local), false, `after ${signal}`);
    for (const port of portsOf(other)) {
      while (signal === 'SIGKILL' && !(await refused(port))) await new Promise(done => setTimeout(done, 20));
      assert.equal(await refused(port), true);
    }
  }
});

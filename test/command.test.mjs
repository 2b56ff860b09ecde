// SPDX-License-Identifier: Apache-2.0
// servers: local dynalite
//
// The command but for `run`: what it prints, where, and with what status it ends.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync, chownSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectRig } from './rig/client.mjs';
import { KEY_ID, SECRET, clientOf } from './rig/proxy.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const SERVER = process.env.DYNALOCK_TEST_SERVER;
// One server sees it as it is used, the other with the address sanitizer.
const VARIANT = process.env.DYNALOCK_TEST_VARIANT ?? (SERVER === 'local' ? 'release' : 'asan');
const COMMAND = join(ROOT, `build/${VARIANT}/dynalock`);
const TABLE = `command-${process.pid}`;
const SUBCOMMANDS = ['init', 'run', 'put', 'get', 'exists', 'rm', 'ls', 'locks', 'break', 'doctor', 'version'];
const children = new Set();
let control;
let proxy;
let environment;
let folder;

before(async () => {
  control = await connectRig(Number(process.env.DYNALOCK_TEST_RIG));
  proxy = await control.ask({ cmd: 'proxy', server: SERVER });
  await control.ask({ cmd: 'table', server: SERVER, name: TABLE, ttl: true });
  folder = mkdtempSync(join(tmpdir(), 'dynalock-command-'));
  environment = {
    ...process.env,
    ...clientOf(proxy.port),
    AWS_EC2_METADATA_DISABLED: 'true',
    DYNALOCK_TABLE: TABLE,
  };
});

after(() => {
  for (const child of children) child.kill('SIGKILL');
  control?.close();
  rmSync(folder, { recursive: true, force: true });
});

// Starts a program. → { child, out(): what it has printed, err(), ended: its status or signal, until(pattern) }
// No terminal is left to it: it is in a session of its own.
function start(program, args, { input = '', env = {} } = {}) {
  const child = spawn(program, args, {
    cwd: ROOT, env: { ...environment, ...env }, detached: true, stdio: ['pipe', 'pipe', 'pipe'],
  });
  const parts = { out: [], err: [] };
  children.add(child);
  child.stdin.on('error', () => {}); // it need not read all, nor anything
  if (input !== null) child.stdin.end(input);
  child.stdout.on('data', data => parts.out.push(data));
  child.stderr.on('data', data => parts.err.push(data));
  const run = {
    child,
    bytes: () => Buffer.concat(parts.out),
    out: () => Buffer.concat(parts.out).toString(),
    err: () => Buffer.concat(parts.err).toString(),
    ended: once(child, 'close').then(([status, signal]) => {
      children.delete(child);
      return signal ?? status;
    }),
    async until(pattern) {
      for (let i = 0; i < 600 && !pattern.test(run.out()); i++) await sleep(50);
      assert.match(run.out(), pattern, run.err());
    },
  };
  return run;
}

async function ended(run) {
  const status = await run.ended;
  return { status, out: run.out(), err: run.err(), bytes: run.bytes() };
}

const dynalock = (args, options) => ended(start(COMMAND, args, options));
const shell = (script, options) => ended(start('sh', ['-c', script, 'sh', COMMAND], options));

// Ends with 0 and no complaint; → what it prints.
async function ok(args, options) {
  const { status, out, err } = await dynalock(args, options);
  assert.deepEqual([status, err], [0, ''], `${args.join(' ')}: ${err}`);
  return out;
}

// Ends with that status, prints nothing, and complains in one line.
async function refused(status, args, pattern, options) {
  const result = await dynalock(args, options);
  assert.equal(result.status, status, `${args.join(' ')}: ${result.err}`);
  assert.equal(result.out, '');
  assert.match(result.err, /^dynalock: [^\n]+\n$/, args.join(' '));
  assert.match(result.err, pattern);
}

const objects = text => text.trimEnd().split('\n').filter(Boolean).map(line => JSON.parse(line));
const record = async (key, ...more) => JSON.parse(await ok(['get', key, '--json', ...more]));
const raw = (op, input) => control.ask({ cmd: 'raw', server: SERVER, op, input });
const go = (call, key, more) =>
  control.ask({ cmd: 'go', server: SERVER, table: TABLE, partition: 'Lock', call, key, ...more });

// On a terminal of its own; answer is typed once pattern is there. → { status, out }
async function onTerminal(args, { pattern, answer, meanwhile } = {}) {
  const words = [COMMAND, ...args].map(word => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const run = start('script', ['-qec', words, '/dev/null'], { input: null });
  if (pattern) {
    await run.until(pattern);
    await meanwhile?.();
    run.child.stdin.write(answer);
  }
  const status = await run.ended;
  run.child.stdin.end();
  return { status, out: run.out().replaceAll('\r', '') };
}

describe('usage', { concurrency: true }, () => {
  test('--help prints what there is, and each subcommand what it takes', async () => {
    const all = await ok(['--help']);
    assert.equal(await ok(['-h']), all);
    for (const name of SUBCOMMANDS) {
      assert.match(all, new RegExp(`^  ${name} `, 'm'));
      assert.match(await ok([name, '--help']), new RegExp(`^usage: dynalock ${name}\\b`));
    }
  });

  test('help prints the same', async () => {
    assert.equal(await ok(['help']), await ok(['--help']));
    assert.equal(await ok(['help', 'put']), await ok(['put', '--help']));
    await refused(64, ['help', 'nonsense'], /no such subcommand: nonsense/);
  });

  test('nothing at all is wrong usage', async () => {
    const { status, out, err } = await dynalock([]);
    assert.deepEqual([status, out], [64, '']);
    assert.equal(err, await ok(['--help']));
  });

  test('what is wrong is said in one line', async () => {
    await refused(64, ['nonsense'], /no such subcommand: nonsense/);
    await refused(64, ['--nonsense'], /no such option.*--nonsense/);
    await refused(64, ['ls', '--nonsense'], /no such option.*--nonsense/);
    await refused(64, ['ls', '-x'], /no such option: -x$/m);
    await refused(64, ['get', '-weird'], /no such option: -w; a KEY that begins with - comes after --$/m);
    await refused(64, ['ls', '--json=yes'], /--json takes no argument/);
    await refused(64, ['ls', '--table'], /--table needs an argument/);
    await refused(64, ['ls', 'a', 'b'], /too many: b/);
    await refused(64, ['get'], /KEY is missing/);
    await refused(64, ['version', 'x'], /too many: x/);
    await refused(64, ['put', 'a', 'b', 'c'], /too many: c/);
    await refused(64, ['put', 'a', 'b', '--ttl', '1m', '--no-expiry'], /exclude each other/);
    await refused(64, ['put', 'a', 'b', '--if-absent', '--if-version', '1'], /exclude each other/);
    await refused(64, ['put', 'a', '1', '--json-value', '--attribute-value'], /exclude each other/);
    await refused(64, ['put', 'a', 'b', '--if-version', '1x'], /1x is no version/);
    await refused(64, ['rm', 'a', '--if-version', '99999999999999999999'], /is no version/);
    await refused(64, ['get', ''], /key/);
    await refused(64, ['get', 'k'.repeat(1025)], /1025 bytes/);
  });

  test('durations have a unit', async () => {
    for (const text of ['20', '20 s', '-1s', '1.5s', 's', '', '1S', '1h30m']) {
      await refused(64, ['put', 'durations', 'x', '--ttl', text], /--ttl: .*5m/);
    }
    await refused(64, ['put', 'durations', 'x', '--ttl', '0s'], /too short/);
    for (const text of ['36501d', '99999999d', '99999999999999999999s', '876001h']) {
      const said = new RegExp(`--ttl: ${text} is too long; 36500d is the most$`, 'm');
      await refused(64, ['put', 'durations', 'x', '--ttl', text], said);
    }
    await refused(64, ['put', 'durations', 'x', '--ttl', '99999999999999999999x'], /is no duration/);
    await refused(64, ['run', 'durations', '--ttl', '400d', 'true'], /--ttl: 400d is too long; 365d is the most$/m);
    await refused(64, ['run', 'durations', '--poll', '400d', 'true'], /--poll: 400d is too long; 365d is the most$/m);
    for (const [text, seconds] of [['500ms', 1], ['20s', 20], ['5m', 300], ['2h', 7200], ['1d', 86400],
      ['36500d', 36500 * 86400]]) {
      await ok(['put', 'durations', 'x', '--ttl', text]);
      const { expires_ms: expires } = await record('durations').catch(() => ({ expires_ms: null }));
      if (expires !== null) assert.ok(Math.abs(expires - Date.now() - seconds * 1000) < 10_000, text);
      else assert.equal(text, '500ms');
    }
  });

  test('global options stand before or after the subcommand, and before the environment', async () => {
    const env = { DYNALOCK_TABLE: 'there-is-none', DYNALOCK_PARTITION: 'global-2' };
    await ok(['--table', TABLE, '--partition', 'global-1', 'put', 'here', 'one']);
    await ok(['put', 'here', 'two', `--table=${TABLE}`], { env });
    assert.equal(await ok(['get', 'here', '--partition', 'global-1']), 'one');
    assert.equal(await ok(['get', 'here', '--partition', 'global-1', '--table', TABLE], { env }), 'one');
    assert.equal(await ok(['get', 'here'], { env: { DYNALOCK_PARTITION: 'global-2' } }), 'two');
    await refused(1, ['get', 'here'], /^dynalock: here: /);
    await refused(69, ['get', 'here'], /`dynalock init` creates it/, { env });
    await refused(69, ['get', 'here', '--table', 'nope'], /`dynalock init --table nope` creates it/);
    assert.match((await dynalock(['doctor', '--table', 'nope'])).out, /`dynalock init --table nope` creates it/);
    assert.equal(await ok(['get', 'here', '--partition', 'global-1', '--endpoint-url', `http://127.0.0.1:${proxy.port}`,
      '--region', 'eu-west-1'], { env: { AWS_ENDPOINT_URL_DYNAMODB: 'http://127.0.0.1:1', AWS_REGION: '' } }), 'one');
  });
});

describe('records', { concurrency: true }, () => {
  test('bytes are what they were', async () => {
    const values = ['', 'text\n', '\0\r\n\0', Buffer.from([...Array(256).keys()]), Buffer.alloc(300_000, 7)];
    for (const value of values) {
      await ok(['put', 'bytes'], { input: value });
      assert.deepEqual((await dynalock(['get', 'bytes'])).bytes, Buffer.from(value));
    }
    await ok(['put', 'bytes', '-'], { input: 'of standard input' });
    assert.equal(await ok(['get', 'bytes']), 'of standard input');
    await ok(['put', 'bytes', '']);
    assert.equal(await ok(['get', 'bytes']), '');
    await ok(['put', '--', '--bytes', '--value']);
    assert.equal(await ok(['get', '--', '--bytes']), '--value');
    await ok(['rm', '--', '--bytes']);
  });

  test('more than a record can have is refused, and not read to its end', async () => {
    const { status, err } = await shell('exec "$1" put large </dev/zero');
    assert.deepEqual([status, err],
      [64, 'dynalock: large: standard input has more than 400 KB; a record can have 400\n']);
    await refused(64, ['put', 'large'], /400/, { input: Buffer.alloc(400 * 1024) }); // base64 makes more of it
    await refused(1, ['get', 'large'], /large/);
  });

  test('a record stays unless an expiry is asked for', async () => {
    await ok(['put', 'stays', 'x']);
    assert.equal((await record('stays')).expires_ms, null);
    await ok(['put', 'stays', 'x', '--ttl', '1h']);
    const first = await record('stays');
    assert.ok(Math.abs(first.expires_ms - Date.now() - 3_600_000) < 10_000);
    await ok(['put', 'stays', 'y', '--if-version', String(first.version)]);
    const second = await record('stays');
    assert.deepEqual([second.expires_ms, second.version], [first.expires_ms, first.version + 1]);
    await ok(['put', 'stays', 'y', '--if-version', String(second.version), '--no-expiry']);
    assert.equal((await record('stays')).expires_ms, null);
    await ok(['put', 'stays', 'y', '--if-version', String(second.version + 1), '--ttl', '1h']);
    assert.ok((await record('stays')).expires_ms > Date.now());
    await ok(['put', 'stays', 'y', '--no-expiry']);
    assert.equal((await record('stays')).expires_ms, null);
  });

  test('conditions', async () => {
    await ok(['put', 'guarded', 'x', '--if-absent']);
    await refused(2, ['put', 'guarded', 'y', '--if-absent'], /^dynalock: guarded: there is a record/);
    const { version } = await record('guarded');
    await refused(2, ['put', 'guarded', 'y', '--if-version', String(version + 1)],
      new RegExp(`${version} and not ${version + 1}`));
    await refused(2, ['rm', 'guarded', '--if-version', String(version + 1)], /and not/);
    await ok(['put', 'guarded', 'y', '--if-version', String(version)]);
    await refused(2, ['put', 'guarded', 'z', '--if-version', String(version)], /and not/);
    assert.equal(await ok(['get', 'guarded']), 'y');
    await ok(['rm', 'guarded', '--if-version', String(version + 1)]);
    await refused(1, ['rm', 'guarded', '--if-version', String(version + 1)], /guarded/);
    await refused(2, ['put', 'guarded', 'z', '--if-version', String(version)], /no such record/);
  });

  test('a condition is met with what put told the last time', async () => {
    const put = async (...args) => JSON.parse(await ok(['put', 'told-version', 'x', '--json', ...args]));
    const first = await put('--if-absent');
    assert.deepEqual(first, { key: 'told-version', version: (await record('told-version')).version, expires_ms: null });
    const second = await put('--if-version', String(first.version), '--ttl', '1h');
    assert.equal(second.version, first.version + 1);
    assert.equal(second.expires_ms, (await record('told-version')).expires_ms);
    await ok(['rm', 'told-version', '--if-version', String(second.version)]);
  });

  test('exists tells by its status, rm does not mind', async () => {
    await ok(['put', 'there', '']);
    await ok(['exists', 'there']);
    await ok(['rm', 'there']);
    const { status, out, err } = await dynalock(['exists', 'there']);
    assert.deepEqual([status, out, err], [1, '', '']);
    await ok(['rm', 'there']);
    await refused(1, ['get', 'there'], /^dynalock: there: /);
  });

  test('JSON values', async () => {
    const text = '{"n":[0,-1,0.1,1e120,9007199254740993,true,null],"s":"a\\u0000\\"é","o":{"b":1,"a":[]}, "e":{}}';
    await ok(['put', 'json', text, '--json-value']);
    const printed = await ok(['get', 'json', '--json']);
    assert.deepEqual(JSON.parse(printed).value, JSON.parse(text));
    assert.match(printed, /\[0,-1,0\.1,1e120,9007199254740993,true,null\]/);
    await refused(69, ['get', 'json'], /type M.*--json/);
    for (const scalar of ['"text"', '12', 'true', 'null', '[1.5]']) {
      await ok(['put', 'json', '--json-value'], { input: `\n ${scalar}\n` });
      assert.deepEqual((await record('json')).value, JSON.parse(scalar));
    }
    await refused(64, ['put', 'json', '{"a":1,\n "a":2}', '--json-value'], /line 2, column \d+: duplicate/);
    await refused(64, ['put', 'json', '[1,]', '--json-value'], /line 1, column 4/);
    await refused(64, ['put', 'json', '1 2', '--json-value'], /line 1, column 3/);
    await refused(64, ['put', 'json', '', '--json-value'], /line 1/);
    assert.deepEqual((await record('json')).value, [1.5]);
  });

  test('attribute values, and what plain JSON cannot stand for', async () => {
    const number = '1234567890123456789012345678.12345';
    const attribute = { M: { n: { N: number }, set: { SS: ['a', 'b'] }, b: { B: 'AAE=' } } };
    await ok(['put', 'attribute', JSON.stringify(attribute), '--attribute-value']);
    const { type, value, attribute: printed } = await record('attribute');
    assert.deepEqual([type, value, printed], ['M', undefined, attribute]);
    await ok(['put', 'attribute', '{"SS":["x"]}', '--attribute-value']);
    assert.deepEqual((await record('attribute')).value, ['x']);
    await ok(['put', 'attribute', '{"B":"AAE="}', '--attribute-value']);
    assert.deepEqual((await dynalock(['get', 'attribute'])).bytes, Buffer.from([0, 1]));
    await refused(64, ['put', 'attribute', '{"Q":"1"}', '--attribute-value'], /type/);
    await refused(64, ['put', 'attribute', '{"N":"x"}', '--attribute-value'], /attribute: /);
  });

  test('a record without a value, and one that is not dynalock\'s', async () => {
    const item = key => ({ id: { S: 'default' }, name: { S: key } });
    await raw('PutItem', { TableName: TABLE, Item: { ...item('bare'), version: { N: '5' } } });
    await refused(69, ['get', 'bare'], /no value/);
    assert.deepEqual(await record('bare'), { key: 'bare', version: 5, expires_ms: null, type: null });
    assert.deepEqual(objects(await ok(['ls', 'bare', '--json'])),
      [{ key: 'bare', version: 5, expires_ms: null, type: null, size: 0 }]);
    await raw('PutItem', { TableName: TABLE, Item: { ...item('foreign'), version: { S: 'five' } } });
    await refused(69, ['get', 'foreign'], /^dynalock: foreign: .*; .*`dynalock rm KEY --partition default`/);
    await ok(['rm', 'foreign', '--partition', 'default']);
    await refused(1, ['get', 'foreign'], /foreign/);
  });
});

describe('ls', { concurrency: true }, () => {
  test('a row for each record, in columns', async () => {
    const here = ['--partition', 'listed'];
    assert.equal(await ok(['ls', ...here]), 'KEY  VERSION  EXPIRES  SIZE\n');
    assert.equal(await ok(['ls', '--json', ...here]), '');
    await ok(['put', 'b/long name of é', '12345', '--ttl', '1h', ...here]);
    await ok(['put', 'a', '[1]', '--json-value', ...here]);
    const rows = (await ok(['ls', ...here])).trimEnd().split('\n');
    assert.match(rows[0], /^KEY {15}VERSION {11}EXPIRES {15}SIZE$/);
    assert.match(rows[1], /^a {17}\d{16} {2}never {17}-$/);
    assert.match(rows[2], /^b\/long name of é {2}\d{16} {2}\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ {2}5$/);
    assert.equal(rows.length, 3);
    const [a, b] = objects(await ok(['ls', '--json', ...here]));
    assert.deepEqual([a.key, a.expires_ms, a.type, a.size, b.key, b.size, b.type],
      ['a', null, 'L', null, 'b/long name of é', 5, 'S']);
    assert.deepEqual(objects(await ok(['ls', '--json', 'b/', ...here])), [b]);
  });

  test('control characters are escaped', async () => {
    const here = ['--partition', 'odd'];
    const key = 'a\x1b[31m\n\u009bé\u202e\u2066';
    const shown = /^a\\x1b\[31m\\n\\xc2\\x9bé\\xe2\\x80\\xae\\xe2\\x81\\xa6 {2}\d/m;
    await ok(['put', key, '', ...here]);
    assert.match(await ok(['ls', ...here]), shown);
    assert.equal(objects(await ok(['ls', '--json', ...here]))[0].key, key);
    const { status, out } = await onTerminal(['ls', ...here]);
    assert.equal(status, 0);
    assert.match(out, shown);
    const json = (await onTerminal(['ls', '--json', ...here])).out.trim();
    assert.match(json, /^[ -~]*$/);
    assert.equal(JSON.parse(json).key, key);
    await refused(1, ['rm', `${key}x`, '--if-version', '1', ...here], /^dynalock: a\\x1b\[31m\\n/);
  });

  test('an expiry that no calendar has is told in milliseconds', async () => {
    const item = { id: { S: 'far' }, name: { S: 'away' }, version: { N: '1' }, expires: { N: '9000000000000000' } };
    await raw('PutItem', { TableName: TABLE, Item: item });
    assert.match(await ok(['ls', '--partition', 'far']), /^away  1 {8}9000000000000000000ms  /m);
  });

  test('a long list has one heading', async () => {
    const keys = Array.from({ length: 1100 }, (_, index) => String(index).padStart(5, '0'));
    for (let first = 0; first < keys.length; first += 25) {
      const requests = keys.slice(first, first + 25).map(key => ({
        PutRequest: { Item: { id: { S: 'many' }, name: { S: key }, version: { N: '1' }, payload: { S: '' } } },
      }));
      await raw('BatchWriteItem', { RequestItems: { [TABLE]: requests } });
    }
    const rows = (await ok(['ls', '--partition', 'many'])).trimEnd().split('\n');
    assert.match(rows[0], /^KEY/);
    assert.deepEqual(rows.slice(1).map(row => row.split(' ')[0]), keys);
    assert.equal(objects(await ok(['ls', '001', '--partition', 'many', '--json'])).length, 100);
  });
});

// A holder, by `run`: → it, once it holds. ends with end().
async function hold(key, ...options) {
  const run = start(COMMAND, ['run', key, ...options, '--', 'sh', '-c', 'echo token $DYNALOCK_TOKEN; exec sleep 100']);
  await run.until(/^token \d+$/m);
  run.token = Number(/token (\d+)/.exec(run.out())[1]);
  run.end = () => {
    run.child.kill('SIGTERM');
    return run.ended;
  };
  return run;
}

describe('locks and break', { concurrency: true }, () => {
  test('who holds what', async () => {
    const holder = await hold('shown/own', '--holder', 'somebody\x07 here');
    await go('lock', 'shown/go', { ttl: 60 });
    await ok(['put', 'shown/ever', 'x', '--partition', 'Lock']);
    const rows = (await ok(['locks', 'shown/'])).trimEnd().split('\n');
    assert.match(rows[0], /^KEY +HOLDER +TOKEN +HELD SINCE +LEASE LEFT$/);
    assert.match(rows[1], /^shown\/ever +- +- +- +never ends$/);
    assert.match(rows[2], /^shown\/go +- +- +- +(\d+s|1m)$/);
    const own = new RegExp(`^shown/own +somebody\\\\a here +${holder.token} +(\\S+) +(\\d+s|9\\.\\ds)$`).exec(rows[3]);
    assert.ok(Math.abs(Date.parse(own[1]) - Date.now()) < 60_000);
    const [ever, other, mine] = objects(await ok(['locks', 'shown/', '--json']));
    assert.deepEqual([ever.left_ms, ever.holder, other.holder, other.token], [null, null, null, null]);
    assert.ok(other.left_ms > 30_000 && other.left_ms <= 61_000);
    assert.deepEqual([mine.holder, mine.token], ['somebody\x07 here', holder.token]);
    assert.ok(mine.left_ms > 5_000 && mine.left_ms <= 22_000);
    const { out } = await onTerminal(['locks', 'shown/']);
    assert.ok(out.includes('somebody\\a here'));
    await holder.end();
    assert.deepEqual(objects(await ok(['locks', 'shown/', '--json'])).map(lock => lock.key),
      ['shown/ever', 'shown/go']);
  });

  test('a record that was released and kept is no lock', async () => {
    const holder = await hold('kept', '--keep-record');
    await holder.end();
    const { result } = await raw('GetItem', { TableName: TABLE, Key: { id: { S: 'Lock' }, name: { S: 'kept' } } });
    assert.equal(result.Item?.expires?.N, '1');
    const own = await control.ask({ cmd: 'proxy', server: SERVER, date: 'none' });
    for (const port of [proxy.port, own.port]) { // with the service's time, and without
      const env = { AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${port}` };
      assert.equal(await ok(['locks', 'kept', '--json'], { env }), '');
      await refused(1, ['break', 'kept', '--yes'], /^dynalock: kept: /, { env });
    }
  });

  test('what is left of a lease is counted by the service\'s clock', async () => {
    const own = await control.ask({ cmd: 'proxy', server: SERVER, skew_ms: 60_000 });
    await ok(['put', 'counted', 'x', '--ttl', '1h', '--partition', 'Lock']);
    const env = { AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${own.port}` };
    const [{ left_ms: left }] = objects(await ok(['locks', 'counted', '--json'], { env }));
    assert.ok(Math.abs(left - 3_540_000) < 20_000, String(left));
  });

  test('what is no record of dynalock\'s can be removed as it is said', async () => {
    const here = ['--partition', 'strange'];
    await raw('PutItem', { TableName: TABLE, Item: { id: { S: 'strange' }, name: { S: 'bar' } } });
    const said = new RegExp('record "bar": it has no version; if it is none of dynalock\'s, ' +
      '`dynalock rm KEY --partition strange` removes it$', 'm');
    for (const args of [['locks'], ['ls'], ['break', 'bar', '--yes'], ['run', 'bar', '--', 'true']]) {
      await refused(69, [...args.slice(0, 1), ...here, ...args.slice(1)], said);
    }
    await refused(69, ['ls', '--table', TABLE, ...here], new RegExp(`rm KEY --partition strange --table ${TABLE}\``));
    await ok(['rm', 'bar', ...here]);
    assert.equal(await ok(['locks', '--json', ...here]), '');
  });

  test('who does not wait is not told of waiting', async () => {
    const env = { AWS_ENDPOINT_URL_DYNAMODB: 'http://127.0.0.1:1', AWS_MAX_ATTEMPTS: '1' };
    for (const how of [['--try'], ['--wait', '0s']]) {
      await refused(69, ['run', 'k', ...how, '-E', '0', '--', 'true'], /^dynalock: k: GetItem: /, { env });
    }
  });

  test('--watch tells changes', async () => {
    const text = start(COMMAND, ['locks', 'watched', '--watch']);
    const json = start(COMMAND, ['locks', 'watched', '--watch', '--json']);
    const first = await hold('watched', '--holder', 'first');
    await Promise.all([text.until(/is held by first/), json.until(/"held"/)]);
    await first.end();
    await Promise.all([text.until(/watched is free/), json.until(/"free"/)]);
    const second = await hold('watched', '--holder', 'second');
    await Promise.all([text.until(/is held by second/), json.until(/second/)]);
    await second.end();
    await Promise.all([text.until(/free\n[^]*free\n/), json.until(/free[^]*free/)]);
    for (const run of [text, json]) {
      run.child.kill('SIGINT');
      assert.equal(await run.ended, 'SIGINT');
      assert.equal(run.err(), '');
    }
    const told = text.out().trimEnd().split('\n');
    assert.deepEqual(told.map(line => line.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ /, '')), [
      `watched is held by first, token ${first.token}`, 'watched is free',
      `watched is held by second, token ${second.token}`, 'watched is free',
    ]);
    assert.deepEqual(objects(json.out()).map(({ change, key, token }) => [change, key, token]), [
      ['held', 'watched', first.token], ['free', 'watched', undefined],
      ['held', 'watched', second.token], ['free', 'watched', undefined],
    ]);
  });

  test('--watch goes on while the service fails, and ends where that will not pass', async () => {
    const own = await control.ask({ cmd: 'proxy', server: SERVER });
    const env = { AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${own.port}`, AWS_MAX_ATTEMPTS: '1' };
    const action = { do: 'status', status: 500 };
    await control.ask({ cmd: 'fault', proxy: own.proxy, match: { op: 'Query' }, times: 1, action });
    const run = start(COMMAND, ['locks', 'stubborn', '--watch'], { env });
    await control.ask({ cmd: 'wait', proxy: own.proxy, state: 'answered', op: 'Query', count: 2 });
    await ok(['put', 'stubborn', 'x', '--partition', 'Lock']);
    await run.until(/stubborn is held/);
    assert.match(run.err(), /^dynalock: [^\n]*\n$/);
    run.child.kill('SIGINT');
    await run.ended;
    await refused(69, ['locks', '--watch', '--table', 'there-is-none'], /init/);
  });

  test('--watch draws anew on a terminal', async () => {
    await ok(['put', 'drawn', 'x', '--partition', 'Lock']);
    const run = start('script', ['-qec', `'${COMMAND}' locks drawn --watch`, '/dev/null'], { input: null });
    await run.until(/\x1b\[H\x1b\[J[^]*drawn[^]*\x1b\[H\x1b\[J[^]*drawn/);
    run.child.stdin.write('\x03');
    await run.ended;
  });

  test('break removes what it has shown, and its holder notices', async () => {
    const holder = await hold('broken', '--ttl', '4s');
    await refused(64, ['break', 'broken'], /no terminal.*--yes/);
    const out = await ok(['break', 'broken', '--yes']);
    assert.match(out, new RegExp(`^KEY .*\nbroken +.*${holder.token}.*\nremoved\\. .*renewal`));
    await refused(1, ['break', 'broken', '--yes'], /^dynalock: broken: /);
    assert.equal(await holder.ended, 76);
  });

  test('break asks on a terminal', async () => {
    await ok(['put', 'asked', 'x', '--partition', 'Lock']);
    for (const answer of ['n\n', '\n', 'nonsense\n', '\x04']) {
      const { status, out } = await onTerminal(['break', 'asked'], { pattern: /\[y\/N\]/, answer });
      assert.equal(status, 2, out);
      assert.match(out, /not removed/);
    }
    await ok(['exists', 'asked', '--partition', 'Lock']);
    const { status, out } = await onTerminal(['break', 'asked'], { pattern: /\[y\/N\]/, answer: 'y\n' });
    assert.equal(status, 0, out);
    assert.match(out, /renewal[^]*Remove it\? \[y\/N\][^]*removed/);
    assert.equal((await dynalock(['exists', 'asked', '--partition', 'Lock'])).status, 1);
  });

  test('break removes a lock that was renewed meanwhile, but not another holder\'s', async () => {
    const first = await hold('renewed', '--ttl', '3s');
    const expiry = async () => objects(await ok(['locks', 'renewed', '--json']))[0]?.version;
    const shown = await expiry();
    const broken = await onTerminal(['break', 'renewed'], {
      pattern: /\[y\/N\]/, answer: 'y\n',
      async meanwhile() {
        while ((await expiry()) === shown) await sleep(100);
      },
    });
    assert.equal(broken.status, 0, broken.out);
    assert.equal(await first.ended, 76);
    const second = await hold('renewed', '--holder', 'the same');
    let third;
    const another = await onTerminal(['break', 'renewed'], {
      pattern: /\[y\/N\]/, answer: 'y\n',
      async meanwhile() {
        await second.end();
        third = await hold('renewed', '--holder', 'the same');
      },
    });
    assert.equal(another.status, 2, another.out);
    assert.equal(objects(await ok(['locks', 'renewed', '--json']))[0].token, third.token);
    await third.end();
    await ok(['put', 'renewed', 'x', '--partition', 'Lock']);
    const changed = await onTerminal(['break', 'renewed'], {
      pattern: /\[y\/N\]/, answer: 'y\n',
      meanwhile: () => ok(['put', 'renewed', 'y', '--partition', 'Lock']),
    });
    assert.equal(changed.status, 2);
    assert.match(changed.out, /changed meanwhile/);
    assert.equal(await ok(['get', 'renewed', '--partition', 'Lock']), 'y');
    const gone = await onTerminal(['break', 'renewed'], {
      pattern: /\[y\/N\]/, answer: 'y\n', meanwhile: () => ok(['rm', 'renewed', '--partition', 'Lock']),
    });
    assert.equal(gone.status, 1);
  });

  test('break --json prints the record', async () => {
    await ok(['put', 'broken-json', 'x', '--partition', 'Lock']);
    const [lock, ...more] = objects(await ok(['break', 'broken-json', '--yes', '--json']));
    assert.deepEqual([lock.key, lock.holder, more], ['broken-json', null, []]);
  });
});

describe('init', { concurrency: true }, () => {
  test('creates the table, then verifies it', async () => {
    const here = ['--table', `${TABLE}-init`];
    const created = await ok(['init', ...here]);
    assert.match(created, new RegExp(`^table ${TABLE}-init: created\nkeys: id \\(S\\), name \\(S\\)\ntime to live: `));
    assert.equal(/time to live: on/.test(created), SERVER === 'local', created);
    assert.match(await ok(['init', ...here]), /: exists\n/);
    const [{ table, created: anew, ttl }] = objects(await ok(['init', '--json', ...here]));
    assert.deepEqual([table, anew, ttl], [`${TABLE}-init`, false, SERVER === 'local']);
    await ok(['put', 'x', 'y', ...here]);
  });

  test('a table with other keys is no table of dynalock', async () => {
    const name = `${TABLE}-keys`;
    const made = await raw('CreateTable', {
      TableName: name, BillingMode: 'PAY_PER_REQUEST', KeySchema: [{ AttributeName: 'other', KeyType: 'HASH' }],
      AttributeDefinitions: [{ AttributeName: 'other', AttributeType: 'S' }],
    });
    assert.equal(made.error, undefined);
    await refused(69, ['init', '--table', name], /other \(?S?.*id \(S\).*name \(S\)/);
    const { status, out } = await dynalock(['doctor', '--table', name]);
    assert.equal(status, 69);
    assert.match(out, /^FAILED +(table|request)/m);
  });
});

describe('doctor', { concurrency: true }, () => {
  const steps = result => objects(result.out).map(({ step, status }) => `${step}: ${status}`);
  const GOOD = ['settings: ok', 'credentials: ok', 'connection: ok', 'clock: ok'];

  test('all is well, and nothing is left behind', async () => {
    const { status, out, err } = await dynalock(['doctor']);
    assert.deepEqual([status, err], [0, ''], out);
    const lines = out.trimEnd().split('\n');
    assert.equal(lines.length, 8);
    for (const line of lines) assert.match(line, /^(ok|warning) +\S.* \(\d+\.\d ms\)$/);
    assert.match(out, /region us-east-1, endpoint http:\/\/127/);
    assert.match(out, /environment/);
    assert.ok(!out.includes(KEY_ID) && !out.includes(SECRET));
    const json = await dynalock(['doctor', '--json', '--partition', 'doctor']);
    assert.equal(json.status, 0);
    if (SERVER !== 'local') {
      assert.match(json.out, /is off[^"]*; `dynalock init` turns it on, where the server has it"/);
    }
    assert.deepEqual(steps(json), [...GOOD, 'table: ok', `time to live: ${SERVER === 'local' ? 'ok' : 'warning'}`,
      'lock: ok', 'round trips: ok']);
    assert.equal(await ok(['ls', '--partition', 'doctor', '--json']), '');
  });

  test('says what does not work, and with what it ends', async () => {
    const run = async (args, env, ...expected) => {
      const result = await dynalock(['doctor', '--json', ...args], { env });
      assert.equal(result.status, 69, result.out);
      assert.deepEqual(steps(result).slice(-expected.length), expected, result.out);
      assert.ok(!result.out.includes('HUSH'));
      return result.out;
    };
    assert.match(await run(['--table', 'there-is-none'], {}, 'connection: ok', 'table: failed'), /dynalock init/);
    await run(['--endpoint-url', 'http://127.0.0.1:1'], {}, 'credentials: ok', 'connection: failed');
    const plain = await control.ask({ cmd: 'proxy', server: SERVER });
    await run(['--endpoint-url', `https://127.0.0.1:${plain.port}`], {}, 'credentials: ok', 'TLS: failed');
    await run([], { AWS_SECRET_ACCESS_KEY: 'HUSH' }, 'connection: ok', 'authorisation: failed');
    await run([], { AWS_SECRET_ACCESS_KEY: '' }, 'credentials: failed');
    await run([], { AWS_REGION: '', AWS_ENDPOINT_URL_DYNAMODB: '' }, 'settings: failed');
    await run(['--profile', 'there-is-none'], {}, 'credentials: failed');
  });

  test('a clock that is off is a warning', async () => {
    const own = await control.ask({ cmd: 'proxy', server: SERVER, skew_ms: 60_000 });
    const env = { AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${own.port}` };
    const slow = await dynalock(['doctor', '--json'], { env });
    assert.equal(slow.status, 0);
    assert.ok(steps(slow).includes('clock: warning'));
    assert.match(slow.out, /at least (58|59|60|1m)[^"]* behind the service's/);
    await control.ask({ cmd: 'set', proxy: own.proxy, skew_ms: -60_000 });
    const fast = await dynalock(['doctor', '--json'], { env });
    assert.match(fast.out, /at least (58|59|60|1m)[^"]* ahead of the service's/);
  });

  test('a service that does not tell its time is a warning', async () => {
    const own = await control.ask({ cmd: 'proxy', server: SERVER, date: 'none' });
    const env = { AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${own.port}` };
    const result = await dynalock(['doctor', '--json'], { env });
    assert.equal(result.status, 0, result.out);
    assert.ok(steps(result).includes('clock: warning'));
    assert.match(result.out, /no Date/);
  });

  test('what may not be read is told, and the rest is looked at', async () => {
    const own = await control.ask({ cmd: 'proxy', server: SERVER });
    const env = { AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${own.port}` };
    const denied = { do: 'status', status: 400, type: 'AccessDeniedException', message: 'no' };
    await control.ask({ cmd: 'fault', proxy: own.proxy, match: { op: 'GetItem' }, times: 1, action: denied });
    const result = await dynalock(['doctor', '--json'], { env });
    assert.equal(result.status, 69);
    assert.deepEqual(steps(result).slice(2, 4), ['connection: ok', 'authorisation: failed'], result.out);
    assert.ok(steps(result).includes('lock: ok'));
  });

  test('credentials that cannot be fetched are told as such', async () => {
    const file = join(folder, 'no-credentials');
    writeFileSync(file, '[default]\ncredential_process = false\n');
    const env = { AWS_CONFIG_FILE: file, AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' };
    const result = await dynalock(['doctor', '--json'], { env });
    assert.deepEqual([result.status, steps(result).at(-1)], [69, 'credentials: failed'], result.out);
    assert.match(result.out, /credential_process/);
  });

  test('what may not be asked is a warning where a lock works', async () => {
    const own = await control.ask({ cmd: 'proxy', server: SERVER });
    const env = { AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${own.port}` };
    const denied = { do: 'status', status: 400, type: 'AccessDeniedException', message: 'no' };
    await control.ask({ cmd: 'fault', proxy: own.proxy, match: { op: 'DescribeTable' }, times: -1, action: denied });
    const result = await dynalock(['doctor', '--json'], { env });
    assert.deepEqual([result.status, ...steps(result)], [0, ...GOOD, 'table: warning', 'lock: ok', 'round trips: ok']);
    await control.ask({ cmd: 'fault', proxy: own.proxy, match: { op: 'PutItem' }, times: -1, action: denied });
    const worse = await dynalock(['doctor', '--json'], { env });
    assert.deepEqual([worse.status, steps(worse).at(-1)], [69, 'lock: failed']);
  });
});

describe('what is told', { concurrency: true }, () => {
  test('a set-user-id command reads no variable', async () => {
    if (process.getuid() !== 0) return; // only root can make one
    const program = join(folder, 'set-user-id');
    copyFileSync(join(ROOT, 'build/release/dynalock'), program); // the sanitizer cannot run so
    chownSync(program, 65534, 65534);
    chmodSync(program, 0o4755);
    const env = { DYNALOCK_LOG: join(folder, 'not-to-be-opened') };
    const { status, err } = await ended(start(program, ['get', 'a', '--region', 'x'], { env }));
    assert.equal(status, 69, err);
    assert.doesNotMatch(err, /DYNALOCK_LOG/);
  });

  test('DYNALOCK_LOG has a line for each event', async () => {
    const file = join(folder, 'log');
    const env = { DYNALOCK_LOG: file };
    await ok(['put', 'a "key"\n', 'x'], { env });
    await ok(['get', 'a "key"\n'], { env });
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    assert.deepEqual(lines.map(line => / operation=(\S+)/.exec(line)[1]), ['GetItem', 'UpdateItem', 'GetItem']);
    for (const line of lines) {
      assert.match(line, /^time=\S+Z pid=\d+ event=attempt operation=\S+ key="a \\"key\\" " attempt=1 elapsed_ms=\d+ /);
      assert.match(line, / http_status=200\b/);
    }
    const failed = await dynalock(['get', 'a', '--table', 'there-is-none'], { env: { DYNALOCK_LOG: '-' } });
    assert.match(failed.err, /^time=.* http_status=400 .*name=ResourceNotFoundException.*\ndynalock: a: /);
    await refused(70, ['get', 'a'], /DYNALOCK_LOG: \/there\/is\/none: /, { env: { DYNALOCK_LOG: '/there/is/none' } });
    for (const line of lines) assert.ok(!line.includes(SECRET) && !line.includes(KEY_ID));
  });

  test('-v tells a retry in words', async () => {
    const own = await control.ask({ cmd: 'proxy', server: SERVER });
    const env = { AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${own.port}` };
    await control.ask({ cmd: 'fault', proxy: own.proxy, match: { op: 'UpdateItem' }, times: 1, action: 'throttle' });
    const { status, err } = await dynalock(['-v', 'put', 'told', 'x'], { env });
    assert.equal(status, 0);
    assert.match(err,
      /^dynalock: told: UpdateItem, attempt 1: ProvisionedThroughputExceeded\S*: .*once more in \d+ms\n$/);
  });

  test('-v tells in words where credentials come from, or why not, and of a clock that is off', async () => {
    const own = await control.ask({ cmd: 'proxy', server: SERVER, skew_ms: 3_600_000 });
    const run = async program => {
      const file = join(folder, `credentials-${program.length}`);
      writeFileSync(file, `[default]\ncredential_process = ${program}\n`);
      return dynalock(['-v', 'put', 'told', 'x'], {
        env: {
          AWS_CONFIG_FILE: file, AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '',
          AWS_ENDPOINT_URL_DYNAMODB: `http://127.0.0.1:${own.port}`,
        },
      });
    };
    const pair = JSON.stringify({ Version: 1, AccessKeyId: KEY_ID, SecretAccessKey: SECRET });
    const good = await run(`echo '${pair}'`);
    assert.equal(good.status, 0, good.err);
    assert.match(good.err, /^dynalock: credentials: from profile default, credential_process$/m);
    assert.match(good.err, /^dynalock: clock: [^\n]*$/m);
    const bad = await run('false');
    assert.equal(bad.status, 69, bad.err);
    assert.match(bad.err, /^dynalock: credentials: failed: [^\n]*status 1/m);
  });

  test('output that cannot be written is a failure', async () => {
    await ok(['put', 'full', 'x']);
    for (const command of ['get full', 'ls', 'ls --json', 'version', '--help', 'doctor']) {
      const full = await shell(`"$1" ${command} >/dev/full`);
      assert.equal(full.status, 70, command);
      assert.match(full.err, /^dynalock: standard output: .*space/);
      const closed = await shell(`"$1" ${command} >&-`);
      assert.equal(closed.status, 70, command);
    }
    const none = await shell('"$1" put full <&-');
    assert.equal(none.status, 70);
    assert.match(none.err, /^dynalock: standard input: /);
    assert.equal(await ok(['get', 'full']), 'x');
    assert.equal((await shell('"$1" put full y >&- 2>&- <&-')).status, 0); // it had nothing to say
    assert.equal(await ok(['get', 'full']), 'y');
  });

  test('version', async () => {
    const [, version] = /DYNALOCK_VERSION "(.*)"/.exec(readFileSync(join(ROOT, 'dynalock.h'), 'utf8'));
    const text = await ok(['version']);
    assert.match(text, new RegExp(`^dynalock ${version} \\(library ${version}\\)\n`));
    assert.equal(await ok(['-V']), text);
    assert.match(await ok(['--help']), /`dynalock help SUBCOMMAND`\n  -V, --version /);
    assert.match(text, /^libcurl\/\S+ OpenSSL[^]*^OpenSSL [^]*^jansson /m);
    assert.equal(await ok(['--version']), text);
    assert.deepEqual(Object.keys(objects(await ok(['version', '--json']))[0]),
      ['dynalock', 'library', 'libcurl', 'openssl', 'jansson']);
  });

  test('completion knows the subcommands and all options that --help names', async () => {
    const file = join(ROOT, 'command/dynalock.bash');
    assert.ok(existsSync(file));
    const script = join(folder, 'complete');
    writeFileSync(script, [`. ${file}`, 'COMP_WORDS=(dynalock "$@")', 'COMP_CWORD=$#', '_dynalock',
      `printf '%s\\n' "\${COMPREPLY[@]}"`].join('\n'));
    const env = { HOME: folder, PATH: process.env.PATH };
    const complete = async (...words) =>
      (await ended(start('bash', [script, ...words], { env }))).out.split('\n').filter(Boolean);
    assert.deepEqual(await complete(''), SUBCOMMANDS);
    assert.deepEqual(await complete('--table', 't', 'l'), ['ls', 'locks']);
    assert.deepEqual(await complete('put', 'a', '--if'), ['--if-absent', '--if-version']);
    assert.deepEqual(await complete('put', 'a', '--ttl', '5'), ['5s', '5m']);
    assert.deepEqual(await complete('get', ''), []);
    assert.ok((await complete('run', 'k', '--', 'bas')).includes('bash'));
    env.AWS_CONFIG_FILE = join(folder, 'config');
    writeFileSync(env.AWS_CONFIG_FILE, '[default]\n[profile one]\n');
    assert.deepEqual(await complete('--profile', ''), ['default', 'one']);
    assert.deepEqual(await complete('--ver'), ['--version', '--verbose']);
    const global = (await ok(['--help'])).match(/--[a-z-]+/g).filter(option => option !== '--version');
    for (const name of SUBCOMMANDS) {
      const offered = await complete(name, '--');
      const own = [...(await ok([name, '--help'])).matchAll(/^ +.*?(--[a-z][a-z-]+)/gm)].map(match => match[1]);
      for (const option of own) {
        assert.ok(offered.includes(option), `${name} ${option}`);
      }
      for (const option of global) assert.ok(offered.includes(option), `${name} ${option}`);
    }
  });
});

test('the server had no objection to any request', async () => {
  const { violations } = await control.ask({ cmd: 'counts', proxy: proxy.proxy });
  assert.deepEqual(violations, []);
});

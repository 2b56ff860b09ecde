// SPDX-License-Identifier: Apache-2.0
// servers: local dynalite
//
// Every example does what it says, and every program in README.md compiles without a warning and runs.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, parse, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { connectRig } from './rig/client.mjs';
import { clientOf } from './rig/proxy.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const BUILT = join(ROOT, 'build/release');
const SERVER = process.env.DYNALOCK_TEST_SERVER;
const TABLE = `examples-${process.pid}`;
const WARNINGS = ['-Wall', '-Wextra', '-Wshadow', '-Wconversion', '-Wpedantic', '-Werror'];
const children = new Set();
let control;
let proxy;
let environment;
let folder;

before(async () => {
  control = await connectRig(Number(process.env.DYNALOCK_TEST_RIG));
  proxy = await control.ask({ cmd: 'proxy', server: SERVER });
  await control.ask({ cmd: 'table', server: SERVER, name: TABLE });
  folder = mkdtempSync(join(tmpdir(), 'dynalock-examples-'));
  environment = {
    ...process.env,
    ...clientOf(proxy.port),
  };
});

after(() => {
  for (const child of children) child.kill('SIGKILL');
  control?.close();
  rmSync(folder, { recursive: true, force: true });
});

// Starts a program. → { child, lines, errors, ended: its status or signal, until(pattern): the line that matches }
function start(program, ...args) {
  const child = spawn(program, args, { cwd: ROOT, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  const run = { child, lines: [], errors: '', waiting: [] };
  children.add(child);
  createInterface({ input: child.stdout }).on('line', line => {
    run.lines.push(line);
    run.waiting = run.waiting.filter(({ pattern, done }) => !pattern.test(line) || done(line));
  });
  child.stderr.setEncoding('utf8').on('data', text => { run.errors += text; });
  run.ended = once(child, 'close').then(([status, signal]) => {
    children.delete(child);
    for (const { pattern, fail } of run.waiting) fail(new Error(`no ${pattern}: ${run.lines.join('\n')}${run.errors}`));
    return status ?? signal;
  });
  run.until = pattern => new Promise((done, fail) => {
    const line = run.lines.find(one => pattern.test(one));
    if (line !== undefined) done(line);
    else run.waiting.push({ pattern, done, fail });
  });
  return run;
}

const example = (name, ...args) => start(join(BUILT, 'examples', name), ...args);
const tokenOf = line => BigInt(/token (\d+)/.exec(line)[1]);

// Ends by status 0; → its lines.
async function complete(run) {
  assert.equal(await run.ended, 0, run.lines.join('\n') + run.errors);
  return run.lines;
}

describe('examples', { concurrency: true }, () => {
  test('all examples have a test here, but for those of the command, in command_run.test.mjs', () => {
    const files = readdirSync(join(ROOT, 'examples')).filter(name => !/\.(cron|service)$/.test(name));
    const names = files.map(name => parse(name).name);
    assert.deepEqual(names.sort(), [
      'competing-consumers', 'config-store', 'epoll', 'fencing', 'first-steps', 'libuv', 'lock', 'raii',
      'streaming-list',
    ]);
  });

  test('first-steps writes, reads, refuses to create twice, lists and deletes', async () => {
    const lines = await complete(example('first-steps', TABLE));
    assert.deepEqual(lines.map(line => line.replace(/version \d+/, 'version N')), [
      'greeting/en = "good morning", version N',
      'create greeting/fr: exists',
      'greeting/en = "good morning", version N',
      'greeting/fr = "bonjour tout le monde", version N',
      'get greeting/fr: not found',
    ]);
  });

  test('first-steps says what is wrong where it is refused', async () => {
    const run = start('env', 'AWS_SECRET_ACCESS_KEY=wrong', join(BUILT, 'examples/first-steps'), TABLE);
    assert.equal(await run.ended, 1);
    assert.match(run.errors, /not authorised|InvalidSignature|signature/i);
    assert.doesNotMatch(run.errors, /wrong|Signature=/);
  });

  test('lock: the second waits for the first, which lets go on SIGTERM', async () => {
    const first = example('lock', 'lock-terminated', TABLE);
    const earlier = tokenOf(await first.until(/^locked/));
    const second = example('lock', 'lock-terminated', TABLE);
    await second.until(/^waiting/);
    first.child.kill('SIGTERM');
    assert.deepEqual((await complete(first)).slice(-1), ['released']);
    assert.ok(tokenOf(await second.until(/^locked/)) > earlier);
    second.child.kill('SIGINT');
    assert.deepEqual((await complete(second)).slice(-1), ['released']);
  });

  test('lock: one that waits ends on SIGTERM, and the holder goes on', async () => {
    const first = example('lock', 'lock-cancelled', TABLE);
    await first.until(/^locked/);
    const second = example('lock', 'lock-cancelled', TABLE);
    await second.until(/^waiting/);
    second.child.kill('SIGTERM');
    assert.deepEqual(await complete(second), ['waiting for lock-cancelled', 'stopped while waiting']);
    first.child.kill('SIGTERM');
    assert.deepEqual((await complete(first)).slice(-1), ['released']);
  });

  test('lock: the second takes over what a killed holder has left', async () => {
    const first = example('lock', 'lock-killed', TABLE);
    const earlier = tokenOf(await first.until(/^locked/));
    const second = example('lock', 'lock-killed', TABLE);
    await second.until(/^waiting/);
    first.child.kill('SIGKILL');
    assert.equal(await first.ended, 'SIGKILL');
    assert.ok(tokenOf(await second.until(/^locked/)) > earlier);
    second.child.kill('SIGTERM');
    await complete(second);
  });

  for (const name of ['epoll', 'libuv']) {
    const keys = [1, 2, 3].map(number => `${name}-${number}`);

    test(`${name}: the second waits for all locks of the first, which lets go on SIGTERM`, async () => {
      const first = example(name, TABLE, ...keys);
      const earlier = await Promise.all(keys.map(key => first.until(new RegExp(`^${key}: locked`))));
      const second = example(name, TABLE, ...keys, `${name}-free`);
      await second.until(new RegExp(`^${name}-free: locked`));
      await new Promise(done => setTimeout(done, 1000)); // for some work
      assert.equal(second.lines.length, 1);
      first.child.kill('SIGTERM');
      const ends = (await complete(first)).slice(-3);
      assert.deepEqual(ends.map(line => line.replace(/[1-9]\d* pieces/, 'N pieces')).sort(),
        keys.map(key => `${key}: released after N pieces of work`));
      for (const [index, key] of keys.entries()) {
        assert.ok(tokenOf(await second.until(new RegExp(`^${key}: locked`))) > tokenOf(earlier[index]));
      }
      second.child.kill('SIGINT');
      assert.equal((await complete(second)).filter(line => /released after/.test(line)).length, 4);
    });

    test(`${name}: one that waits ends on SIGTERM, and the holder goes on`, async () => {
      const key = `${name}-cancelled`;
      const first = example(name, TABLE, key);
      await first.until(/locked/);
      const second = example(name, TABLE, `${key}-own`, key);
      await second.until(new RegExp(`^${key}-own: locked`));
      second.child.kill('SIGTERM');
      assert.deepEqual((await complete(second)).map(line => line.replace(/\d+/, 'N')).sort(), [
        `${key}-own: locked, token N`, `${key}-own: released after N pieces of work`, `${key}: stopped while waiting`,
      ]);
      first.child.kill('SIGTERM');
      assert.equal((await complete(first)).length, 2);
    });

    test(`${name}: a loss is told, and the lock is waited for again`, async () => {
      const key = `${name}-lost`;
      const run = example(name, TABLE, key, `${key}-other`);
      const earlier = tokenOf(await run.until(new RegExp(`^${key}: locked`)));
      await run.until(new RegExp(`^${key}-other: locked`));
      const input = { TableName: TABLE, Key: { id: { S: 'locks' }, name: { S: key } } };
      const { error } = await control.ask({ cmd: 'raw', server: SERVER, op: 'DeleteItem', input });
      assert.equal(error, undefined);
      await run.until(new RegExp(`^${key}: lost: `));
      const again = new RegExp(`^${key}: locked, token (?!${earlier}$)`);
      assert.ok(tokenOf(await run.until(again)) > earlier);
      run.child.kill('SIGTERM');
      const lines = await complete(run);
      assert.equal(lines.filter(line => /: lost/.test(line)).length, 1);
      assert.equal(lines.filter(line => /released after/.test(line)).length, 2);
    });

    test(`${name} ends, and says why, where there is no table`, async () => {
      const run = example(name, 'there-is-none', 'a', 'b');
      assert.equal(await run.ended, 1);
      assert.match(run.errors, /^[ab]: .*ResourceNotFoundException/m); // whichever is told first
    });
  }

  test('raii: an exception that leaves the scope releases the lock', async () => {
    const lines = await complete(example('raii', TABLE));
    const [first, second] = [lines[0], lines[3]].map(tokenOf);
    assert.ok(second > first);
    assert.deepEqual(lines.map(line => line.replace(/\d+/, 'N')), [
      'locked, token N', 'a second one: not acquired', 'the work fails', 'locked again, token N',
    ]);
  });

  test('fencing: a holder that comes too late is refused, in every run anew', async () => {
    const file = join(folder, 'guarded');
    let earlier = 0n;
    for (let turn = 0; turn < 2; turn++) {
      const lines = await complete(example('fencing', file, TABLE));
      const tokens = lines.map(tokenOf);
      assert.ok(tokens[0] > earlier && tokens[1] > tokens[0] && tokens[2] === tokens[0]);
      assert.deepEqual(lines.map(line => line.replace(/\d+/, 'N')), [
        'the first holder, token N: written',
        'the second holder, token N: written',
        'the first holder, late, token N: refused',
      ]);
      assert.equal(readFileSync(file, 'utf8'), `${tokens[1]}\nthe second holder\n`);
      earlier = tokens[1];
    }
  });

  test('config-store: no change is lost of those that several make at once', async () => {
    const versionOf = lines => BigInt(/^version (\d+)$/.exec(lines[0])[1]);
    const names = ['a', 'b', 'c', 'd'];
    const created = versionOf(await complete(example('config-store', TABLE, 'shop', 'b=first')));
    await Promise.all(names.map(name => complete(example('config-store', TABLE, 'shop', `${name}=of ${name}`))));
    await complete(example('config-store', TABLE, 'shop', 'b=', 'colour=green'));
    const lines = await complete(example('config-store', TABLE, 'shop'));
    assert.equal(versionOf(lines) - created, 5n);
    assert.deepEqual(JSON.parse(lines.slice(1).join('\n')), { a: 'of a', c: 'of c', d: 'of d', colour: 'green' });
  });

  test('streaming-list sees all records, on several pages, and stops where it has seen enough', async () => {
    assert.deepEqual(await complete(example('streaming-list', TABLE)), [
      '24 records, 1440000 bytes',
      'the first from book/page-1 on: book/page-10',
    ]);
  });

  test('competing-consumers: a process is killed, its work is taken over, and never are two at one job', async () => {
    const lines = await complete(example('competing-consumers', TABLE));
    assert.match(lines.at(-1), /^CHECKED/);
    const killed = lines.findIndex(line => /is killed \(SIGKILL\)/.test(line));
    assert.ok(killed > 0);
    for (const job of ['invoices', 'letters', 'reports', 'thumbnails']) {
      assert.ok(lines.slice(killed).some(line => new RegExp(`${job} +locked`).test(line)), job);
    }
    // DynamoDB Local's time to live may remove the dead holder's record before it is taken over.
    if (SERVER === 'dynalite') assert.ok(lines.some(line => /its holder's lease has expired/.test(line)));
  });

  // It starts a server of its own, so once is enough.
  if (SERVER === 'dynalite') test('the demo, interrupted, ends at once with a failure and leaves nothing running', async () => {
    const demo = spawn('tools/demo', { cwd: ROOT, detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
    children.add(demo);
    const closed = once(demo, 'close');
    for await (const line of createInterface({ input: demo.stdout })) {
      if (/locked/.test(line)) break;
    }
    demo.stdout.resume();
    process.kill(-demo.pid, 'SIGINT'); // as a terminal does
    const [status] = await closed; // all of them, dynalite too, have closed the pipe
    children.delete(demo);
    assert.equal(status, 1);
    assert.throws(() => process.kill(-demo.pid, 0), { code: 'ESRCH' });
  });
});

describe('README.md', () => {
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const programs = [...text.matchAll(/^```c\n(.*?)^```$/gms)].map(match => match[1]);
  const build = (source, name) => {
    const file = join(folder, `${name}.c`);
    writeFileSync(file, source);
    const libraries = ['-I.', '-Lbuild/release', '-ldynalock', `-Wl,-rpath,${BUILT}`];
    const argv = ['-std=c11', ...WARNINGS, file, '-o', join(folder, name), ...libraries];
    execFileSync(process.env.CC || 'cc', argv, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] });
    return join(folder, name);
  };

  test('every C block is a whole program, and compiles without a warning', () => {
    assert.ok(programs.length >= 2);
    programs.forEach((source, index) => {
      assert.match(source, /int main\(/);
      build(source, `program${index}`);
    });
  });

  test('the first program prints what it has written', async () => {
    const lines = await complete(start(build(programs[0], 'first')));
    assert.deepEqual(lines, ['colour = green']);
  });

  test('the second program does its work under the lock', async () => {
    const lines = await complete(start(build(programs[1], 'second')));
    assert.match(lines[0], /^working, token \d+$/);
    assert.deepEqual(lines.slice(1), ['done']);
  });

  test('the lines for a shell do what they say', async () => {
    const [, script] = /^```sh\n(.*?)^```$/ms.exec(text);
    const path = `PATH=${BUILT}:${process.env.PATH}`;
    const lines = (await complete(start('env', path, 'sh', '-ec', script))).join('\n');
    assert.match(lines, /^token \d+$/m);
    assert.match(lines, /^hello$/m);
    assert.match(lines, /^KEY +HOLDER/m);
    assert.match(lines, /^ok +lock /m);
  });

  test('it is shorter than 300 lines, and the files it names exist', () => {
    assert.ok(text.split('\n').length < 300);
    for (const [, file] of text.matchAll(/\]\(([^)#:]+)\)/g)) readFileSync(join(ROOT, file));
  });
});

test('the server had no objection to any request of the examples', async () => {
  const { violations } = await control.ask({ cmd: 'counts', proxy: proxy.proxy });
  assert.deepEqual(violations, []);
});

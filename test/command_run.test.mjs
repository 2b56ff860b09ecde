// SPDX-License-Identifier: Apache-2.0
// servers: local dynalite
//
// `dynalock run`, but for what command_lease.test.mjs and command_terminal.test.mjs are about: exit statuses, signals,
// what the command sees, the release; and the examples for cron and systemd.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, symlinkSync, writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  ROOT, SERVER, childrenOf, commandOf, eventually, guardianOf, isAlive, isStopped, membersOf, monotonicMs, openBench,
} from './command_support.mjs';

// One server sees it as it is used, the other with the address sanitizer, which makes a leak an exit status.
const VARIANT = SERVER === 'local' ? 'release' : 'asan';
const CONCURRENTLY = { concurrency: true, timeout: 40_000 };
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'];
const ENDING = SIGNALS.slice(0, 4);
const numberOf = signal => constants.signals[signal];
const short = signal => signal.slice(3);
let bench;

before(async () => { bench = await openBench(VARIANT); });
after(() => bench?.close());

const run = (...args) => bench.run(bench.key(), ...args);

// Ends with that status, runs nothing, and says why in one line.
async function refused(status, pattern, refusal) {
  await bench.ends(status, refusal);
  assert.equal(refusal.out(), '');
  assert.match(refusal.err(), /^dynalock: [^\n]+\n$/);
  assert.match(refusal.err(), pattern);
}

describe('the exit status', CONCURRENTLY, () => {
  for (const status of [0, 1, 75, 76, 255]) {
    test(`is the command's: ${status}`, async () => {
      const { out, err } = await bench.ends(status, run([], `echo done; exit ${status}`));
      assert.deepEqual([out(), err()], ['done\n', '']);
    });
  }

  for (const signal of ['SIGTERM', 'SIGKILL', 'SIGSEGV']) {
    test(`is 128 + N where the command ends by a signal: ${signal}`, async () => {
      await bench.ends(128 + numberOf(signal), run([], `kill -${short(signal)} $$`));
    });
  }

  test('is 127 where there is no such command, and no record is left', async () => {
    const key = bench.key();
    await refused(127, /no-such-command/, bench.run(key, [], ['no-such-command']));
    assert.equal(await bench.record(key), null);
    await refused(127, /nowhere/, run([], ['/nowhere/command']));
    await refused(127, /./, run([], ['']));
  });

  test('is 126 where the command cannot be executed, and no record is left', async () => {
    const key = bench.key();
    const file = bench.file('not-executable');
    writeFileSync(file, '#!/bin/sh\n', { mode: 0o644 });
    await refused(126, /not-executable/, bench.run(key, [], [file]));
    assert.equal(await bench.record(key), null);
    await refused(126, /ermission/, run([], [bench.folder]));
  });

  test('is that of a script without #!, which the shell runs', async () => {
    const file = bench.file('plain-script');
    writeFileSync(file, 'exit 7\n', { mode: 0o755 });
    await bench.ends(7, run([], [file]));
  });

  const usages = [
    [[], 'KEY'], [['key'], 'COMMAND'], [['key', '--'], 'COMMAND'],
    [['key', '--ttl', '5', '--', 'true'], '--ttl: 5 '],
    [['key', '--ttl', '1999ms', '--', 'true'], '1999ms is too short'],
    [['key', '--wait', '30', '--', 'true'], '--wait: 30 '],
    [['key', '--poll', '1ms', '--', 'true'], '1ms is too short'],
    [['key', '--wait', '1s', '--try', '--', 'true'], 'exclude'], [['key', '-E', '256', '--', 'true'], '256'],
    [['key', '-E', 'x', '--', 'true'], 'x is no exit status'], [['key', '--no-such', '--', 'true'], '--no-such'],
    [['key', '--ttl'], '--ttl needs an argument'], [['', '--', 'true'], '.'],
  ];
  for (const [args, pattern] of usages) {
    test(`is 64 for run ${args.map(arg => arg || "''").join(' ')}`, async () => {
      await refused(64, new RegExp(pattern), bench.start(bench.program, ['run', ...args]));
    });
  }

  test('is 69 where the table is not there, or the credentials are wrong', async () => {
    await refused(69, /no-such-table/, run(['--table', 'no-such-table'], 'echo ran'));
    await refused(69, /./, run([], 'echo ran', { env: { AWS_SECRET_ACCESS_KEY: 'another' } }));
  });

  test('is 70 where there are too few descriptors', async () => {
    const statuses = await Promise.all([4, 5, 6, 7, 8, 9, 10, 11, 12].map(async limit => {
      const script = `ulimit -n ${limit}; exec dynalock run ${bench.key()} -- sh -c 'echo ran'`;
      const one = bench.start('sh', ['-c', script], { env: { ASAN_OPTIONS: 'detect_leaks=0' } });
      const status = await one.ended;
      assert.match(one.err(), /^dynalock: [^\n]+\n$/m);
      assert.equal(one.out(), '');
      return status;
    }));
    assert.deepEqual([...new Set(statuses)], [70]);
  });

  test('is 75, or what -E says, where the lock is not acquired in time; --try alone is silent about it', async () => {
    const key = bench.key();
    const holder = await bench.hold(key, ['--holder', 'the other one']);
    const tenure = await bench.tenure(key);
    const waits = async (status, options, ...global) => {
      const began = monotonicMs();
      const one = bench.start(bench.program, [...global, 'run', key, ...options, '--', 'echo', 'ran']);
      await bench.ends(status, one);
      assert.equal(one.out(), '');
      return { err: one.err(), took: await one.exited - began };
    };
    const silent = await Promise.all([
      waits(75, ['--try']), waits(0, ['--try', '-E', '0']), waits(9, ['--wait', '0s', '--conflict-exit-code', '9']),
    ]);
    for (const { err } of silent) assert.equal(err, '');
    const [told, late, content] = await Promise.all([
      waits(75, ['--try'], '-v'), waits(75, ['--wait', '800ms', '--poll', '100ms']),
      waits(0, ['--wait', '10ms', '-E', '0']),
    ]);
    for (const { err } of [told, late, content]) assert.match(err, /^dynalock: [^\n]*held by the other one[^\n]*\n$/m);
    assert.ok(late.took > 750);
    assert.equal(await bench.tenure(key), tenure);
    await holder.letGo();
  });

  test('is told, with -v, with all that became of the lock', async () => {
    const key = bench.key();
    const expired = { id: { S: 'Lock' }, name: { S: key }, version: { N: '5' }, expires: { N: '1000' } };
    const denied = { do: 'status', status: 400, type: 'AccessDeniedException', message: 'no more' };
    const started = () => bench.run(key, ['-v', '--ttl', '90m'], 'echo up; cat', { input: null });
    await bench.raw('PutItem', { TableName: bench.table, Item: expired });
    await bench.fault(key, denied, { op: 'DeleteItem', times: 1 });
    const one = started();
    await one.until(/up/);
    one.child.stdin.end();
    await one.ended;
    assert.match(one.err(), new RegExp(`^dynalock: ${key}: taken over, its holder's lease has expired$`, 'm'));
    assert.match(one.err(), /: acquired, token \d+, 1h (29|30)m of the lease left$/m);
    assert.match(one.err(), /: DeleteItem: AccessDeniedException: no more/);
    await bench.remove(key);
  });

  test('is 76 where the lock is lost', async () => {
    const key = bench.key();
    const one = bench.run(key, ['--ttl', '12s'], 'echo up; exec sleep 1000');
    await one.until(/up/);
    const other = await bench.replace(key);
    await bench.ends(76, one);
    assert.match(one.err(), /^dynalock: [^\n]*the lock is lost \(taken over\)[^\n]*\n$/);
    assert.deepEqual(await bench.record(key), other);
  });

  test('is 76, and -v tells of renewals before, where the lock cannot be renewed', async () => {
    const key = bench.key();
    const denied = { do: 'status', status: 400, type: 'AccessDeniedException', message: 'no more' };
    const one = bench.run(key, ['-v', '--ttl', '4s'], 'echo up; exec sleep 1000');
    await one.until(/up/);
    await bench.fault(key, denied, { op: 'UpdateItem' });
    await bench.ends(76, one);
    assert.match(one.err(), /: [^\n]*renewal failed: [^\n]*no more/);
  });

  for (const how of ['remove', 'replace']) {
    test(`is 76 where that is seen only as the lock is released: ${how}d`, async () => {
      const key = bench.key();
      const one = bench.run(key, ['--ttl', '1m'], 'echo up; cat', { input: null });
      await one.until(/up/);
      const other = await bench[how](key);
      one.child.stdin.end();
      await bench.ends(76, one);
      assert.match(one.err(), /lost/);
      assert.deepEqual(await bench.record(key), other ?? null);
    });
  }

  test('is the command\'s where nobody reads what dynalock says', async () => {
    const script = 'exec 2>&-; dynalock -v run "$KEY" -- sh -c "exit 3"';
    await bench.ends(3, bench.shell(script, { env: { KEY: bench.key() } }));
    const file = bench.file('status');
    const run3 = 'dynalock -v run "$KEY" --ttl 6s -- sh -c "sleep 3; exit 3"';
    const piped = `{ ${run3}; echo $? >&3; } 2>&1 >/dev/null 3>${file} | true`;
    await bench.ends(0, bench.shell(piped, { env: { KEY: bench.key() } }));
    await eventually(() => readFileSync(file, 'utf8') === '3\n', 'the status 3');
  });
});

describe('a signal', CONCURRENTLY, () => {
  for (const signal of SIGNALS) {
    test(`${signal} reaches every process of the group, once, and dynalock goes on`, async () => {
      const trap = `trap "echo NAME" ${short(signal)}`;
      const end = bench.file(`end-${signal}`);
      const member = `${trap.replace('NAME', 'member')}; echo ready; while [ ! -e ${end} ]; do sleep 0.05; done`;
      const one = run([], `${trap.replace('NAME', 'leader')}; sh -c '${member}'; exit 6`);
      await one.until(/ready/);
      one.kill(signal);
      await one.until(/member/);
      writeFileSync(end, '');
      await bench.ends(6, one);
      assert.equal(one.out().match(/leader/g).length, 1);
      assert.equal(one.out().match(/member/g).length, 1);
    });
  }

  test('ends a command that does not catch it, and the status tells', async () => {
    await Promise.all(SIGNALS.map(async signal => {
      const key = bench.key();
      const one = bench.run(key, [], 'echo up; sleep 1000; echo on');
      await one.until(/up/);
      // Before it has started what it waits for, dash puts SIGINT off until that ends.
      await eventually(() => membersOf(commandOf(one.pid)).some(({ name }) => name === 'sleep'), 'sleep');
      one.kill(signal);
      await bench.ends(128 + numberOf(signal), one);
      assert.equal(one.out(), 'up\n');
      assert.equal(await bench.record(key), null);
    }));
  });

  for (const signal of ENDING) {
    test(`${signal} ends the waiting; the holder is untouched, and the command never runs`, async () => {
      const key = bench.key();
      const holder = await bench.hold(key);
      const tenure = await bench.tenure(key);
      const one = bench.start(bench.program, ['-v', 'run', key, '--', 'echo', 'ran']);
      await one.until(/held by/, 'err');
      one.kill('SIGUSR1'); // means nothing yet
      one.kill('SIGCONT');
      const guardian = guardianOf(one.pid);
      const began = monotonicMs();
      one.kill(signal);
      await bench.ends(128 + numberOf(signal), one);
      assert.ok(await one.exited - began < 1500, 'long before the next try');
      assert.equal(one.out(), '');
      assert.ok(!isAlive(guardian));
      assert.equal(await bench.tenure(key), tenure);
      await holder.letGo();
      assert.equal(await bench.record(key), null);
    });
  }

  for (const action of ['hold', 'blackhole']) {
    test(`that comes while the lock is being won leaves no record: ${action}`, async () => {
      const key = bench.key();
      await bench.fault(key, { do: action, forward: true }, { op: 'PutItem', times: 1 });
      const one = bench.run(key, [], 'echo ran');
      await bench.requests(key, { op: 'PutItem', state: action === 'hold' ? 'held' : 'forwarded' });
      one.kill('SIGTERM');
      assert.ok(await bench.record(key));
      await bench.control.ask({ cmd: 'let-go', proxy: bench.proxy.proxy });
      await bench.ends(143, one);
      assert.equal(one.out(), '');
      assert.equal(await bench.record(key), null);
    });
  }

  test('that was ignored as dynalock began stays ignored', async () => {
    const key = bench.key();
    const script = 'trap "" HUP USR1; exec dynalock run "$KEY" -- sh -c "grep SigIgn /proc/self/status; cat"';
    const one = bench.shell(script, { input: null, env: { KEY: key } });
    const [, ignored] = await one.until(/SigIgn:\s*([0-9a-f]+)/);
    for (const signal of ['SIGHUP', 'SIGUSR1']) {
      assert.ok(BigInt(`0x${ignored}`) & (1n << BigInt(numberOf(signal) - 1)));
      one.kill(signal);
    }
    one.child.stdin.end('still here\n');
    await bench.ends(0, one);
    assert.match(one.out(), /still here/);
  });

  test('SIGHUP under nohup does not end the waiting', async () => {
    const key = bench.key();
    const holder = await bench.hold(key);
    const script = 'exec nohup dynalock -v run "$KEY" --poll 50ms -- echo ran 2>&1';
    const one = bench.shell(script, { env: { KEY: key } });
    await one.until(/held by/);
    one.kill('SIGHUP');
    await holder.letGo();
    await bench.ends(0, one);
    assert.match(one.out(), /^ran$/m);
  });

  // In a job of its own, as a shell with job control makes it: a stop must not reach what runs these tests.
  test('SIGTSTP stops the group, and nobody beside dynalock; SIGCONT continues it', async () => {
    const script = 'trap "echo continued" CONT; echo up; while ! read line; do :; done';
    const job = `set -m; dynalock run "$KEY" -- sh -c '${script}' | cat & wait; wait`;
    const shell = bench.start('bash', ['-c', job], { input: null, env: { KEY: bench.key() } });
    await shell.until(/up/);
    const [dynalock, cat] = ['dynalock', 'cat'].map(name => childrenOf(shell.pid).find(one => one.name === name).pid);
    const command = commandOf(dynalock);
    process.kill(dynalock, 'SIGTSTP');
    await eventually(() => isStopped(command), 'a stopped command');
    await eventually(() => isStopped(dynalock), 'dynalock stopped');
    assert.ok(!isStopped(cat));
    process.kill(dynalock, 'SIGCONT');
    await shell.until(/continued/);
    shell.child.stdin.end('end\n');
    await bench.ends(0, shell);
  });

  test('SIGKILL to dynalock as it waits leaves no process', async () => {
    const key = bench.key();
    const holder = await bench.hold(key);
    const one = bench.start(bench.program, ['-v', 'run', key, '--', 'echo', 'ran']);
    await one.until(/held by/, 'err');
    const guardian = guardianOf(one.pid);
    one.kill('SIGKILL');
    await eventually(() => !isAlive(guardian), 'the end of the guardian');
    await holder.letGo();
  });
});

describe('the command sees', CONCURRENTLY, () => {
  test('its key, token and holder, and the rest of the environment as it was', async () => {
    const key = bench.key();
    const env = { DYNALOCK_TOKEN: 'of an outer one', DYNALOCK_KEY: '', KEPT: 'a = b\nc', DYNALOCK_TOKENS: 'kept' };
    const options = ['--holder', 'Zoë of "payroll"', '--value', 'some value'];
    const one = bench.run(key, options, 'env -0; cat', { input: null, env });
    await one.until(/\0$/);
    const item = await bench.record(key);
    one.child.stdin.end();
    await bench.ends(0, one);
    const seen = one.out().split('\0').slice(0, -1).filter(line => !/^(PWD|OLDPWD|SHLVL|_)=/.test(line));
    const set = { DYNALOCK_KEY: key, DYNALOCK_TOKEN: item.version.N, DYNALOCK_HOLDER: options[1] };
    const expected = { ...bench.environment, ...env, ...set };
    assert.deepEqual(seen.sort(), Object.entries(expected).map(([name, value]) => `${name}=${value}`).sort());
    assert.ok(JSON.stringify(item).includes('Zoë of \\"payroll\\"'));
    assert.ok(JSON.stringify(item).includes(Buffer.from('some value').toString('base64')), JSON.stringify(item));
  });

  test('without --holder, a holder that names host, process and time', async () => {
    const one = await bench.ends(0, run([], 'echo "$DYNALOCK_HOLDER"'));
    assert.match(one.out(), new RegExp(`^\\S+ ${one.pid} \\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ\\n$`));
  });

  test('a key and arguments of any letters', async () => {
    const key = 'a b/"ü"\n%s';
    const args = ['', ' ', '-x', '--', '--ttl', '%s', 'ü', '$(id)', '*'];
    const one = await bench.ends(0, bench.run(key, [], ['printf', '<%s>', ...args]));
    assert.equal(one.out(), args.map(arg => `<${arg}>`).join(''));
    const other = await bench.ends(0, bench.run(key, [], 'printf %s "$DYNALOCK_KEY"'));
    assert.equal(other.out(), key);
  });

  test('the folder and the umask it was started with', async () => {
    const script = 'cd "$WHERE"; umask 027; exec dynalock run "$KEY" -- sh -c "pwd; umask"';
    const one = await bench.ends(0, bench.shell(script, { env: { WHERE: bench.folder, KEY: bench.key() } }));
    assert.equal(one.out(), `${bench.folder}\n0027\n`);
  });

  test('standard input, output and error as they are: all bytes, both ways', async () => {
    const bytes = randomBytes(1 << 20);
    const one = run([], 'cat; echo "to the error" >&2', { input: bytes });
    await bench.ends(0, one);
    assert.ok(one.bytes().equals(bytes));
    assert.equal(one.err(), 'to the error\n');
  });

  test('no descriptor of dynalock', async () => {
    // Written to a file: the shell's own pipe would be there for all to see.
    const list = async (script, options) => {
      const one = bench.shell(script, { ...options, env: { KEY: bench.key(), DYNALOCK_LOG: bench.file('log') } });
      await bench.ends(0, one);
      return one.out().split('\n').filter(Boolean).sort();
    };
    const look = 'for fd in /proc/self/fd/*; do echo "\\${fd##*/}"; done';
    const direct = await list(`exec sh -c "${look}"`);
    assert.deepEqual(await list(`exec dynalock run "$KEY" -- sh -c "${look}"`), direct);
  });

  test('descriptors that were handed to dynalock, and closed ones closed', async () => {
    const file = bench.file('handed');
    const look = 'echo there >&7; [ -e /proc/$$/fd/0 ] || echo closed';
    const script = `exec 7>${file} 0<&-; exec dynalock run "$KEY" -- sh -c '${look}'`;
    const one = await bench.ends(0, bench.shell(script, { env: { KEY: bench.key() } }));
    assert.equal(readFileSync(file, 'utf8'), 'there\n');
    assert.equal(one.out(), 'closed\n');
  });

  test('signals as they were: blocked, ignored and caught', async () => {
    const setting = ['--block-signal=USR1,WINCH,TTOU', '--ignore-signal=HUP,CHLD,PIPE,TSTP'];
    const argv = ['grep', '^Sig[BIC]', '/proc/self/status'];
    for (const flags of [[], setting]) {
      const direct = await bench.ends(0, bench.start('env', [...flags, ...argv]));
      const one = await bench.ends(0, bench.start('env', [...flags, 'dynalock', 'run', bench.key(), '--', ...argv]));
      assert.equal(one.out(), direct.out());
    }
  });

  test('its own group, in the session that dynalock is in', async () => {
    const one = run([], 'ps -o pid=,pgid=,sid= -p $$ $PPID; cat', { input: null });
    await one.until(/\n.*\n/);
    const rows = one.out().trim().split('\n').map(line => line.trim().split(/\s+/).map(Number));
    const of = pid => rows.find(row => row[0] === pid);
    const command = commandOf(one.pid);
    assert.equal(of(command)[1], command);
    assert.notEqual(of(one.pid)[1], command);
    assert.equal(of(command)[2], of(one.pid)[2]);
    one.child.stdin.end();
    await bench.ends(0, one);
  });

  test('$(dynalock run ...) returns as the command ends, and the guardian holds nothing open', async () => {
    const script = 'out=$(dynalock run "$KEY" -- sh -c "echo up >&2; read x; echo said"); echo "<$out> $?"';
    const one = bench.shell(script, { input: null, env: { KEY: bench.key() } });
    await one.until(/up/, 'err');
    const dynalock = childrenOf(one.pid).map(({ pid }) => childrenOf(pid)[0]?.pid ?? pid)
      .concat(childrenOf(one.pid).map(({ pid }) => pid)).find(pid => guardianOf(pid));
    const guardian = guardianOf(dynalock);
    const files = readdirSync(`/proc/${guardian}/fd`).map(fd => readlinkSync(`/proc/${guardian}/fd/${fd}`));
    assert.deepEqual(files.filter(file => file !== '/dev/null').map(file => file.replace(/\d+/, 'N')), ['pipe:[N]']);
    const began = monotonicMs();
    one.child.stdin.end('\n');
    await bench.ends(0, one);
    assert.equal(one.out(), '<said> 0\n');
    assert.ok(monotonicMs() - began < 3000);
  });
});

describe('the lock', CONCURRENTLY, () => {
  test('is the next contender\'s within its poll', async t => {
    const key = bench.key();
    const holder = await bench.hold(key);
    const next = bench.start(bench.program, ['-v', 'run', key, '--poll', '500ms', '--', 'echo', 'ran']);
    await next.until(/held by/, 'err');
    await holder.letGo();
    const began = await holder.exited;
    await next.until(/ran/);
    const took = monotonicMs() - began;
    await bench.ends(0, next);
    t.diagnostic(`${Math.round(took)} ms after the holder's end, at a poll of 500 ms`);
    assert.ok(took < 1200, `${took}`);
  });

  test('leaves no record, and with --keep-record one by which tokens increase strictly', async () => {
    const key = bench.key();
    const tokens = [];
    for (let turn = 0; turn < 5; turn++) {
      const one = await bench.ends(0, bench.run(key, ['--keep-record'], 'echo "$DYNALOCK_TOKEN"'));
      tokens.push(BigInt(one.out()));
      assert.ok(await bench.record(key));
    }
    assert.deepEqual([...new Set(tokens)].sort((a, b) => (a < b ? -1 : 1)), tokens);
    await bench.ends(0, bench.run(key, [], 'true'));
    assert.equal(await bench.record(key), null);
  });

  test('is renewed for as long as the command takes', async () => {
    const key = bench.key();
    const one = bench.run(key, ['--ttl', '9s'], 'cat', { input: null });
    await bench.requests(key, { op: 'UpdateItem', state: 'answered', count: 5 });
    one.child.stdin.end();
    await bench.ends(0, one);
    assert.equal(one.err(), '');
  });

  test('is waited for while its record is another\'s, and taken over once that has expired', async () => {
    const key = bench.key();
    const first = await bench.hold(key, ['--ttl', '4s']);
    const token = BigInt((await bench.record(key)).version.N);
    first.kill('SIGKILL');
    const next = await bench.ends(0, bench.run(key, ['--poll', '100ms'], 'echo "$DYNALOCK_TOKEN"'));
    assert.ok(BigInt(next.out()) > token);
  });

  test('says nothing of waiting where standard error is no terminal', async () => {
    const key = bench.key();
    const holder = await bench.hold(key);
    const next = bench.run(key, ['--poll', '50ms'], 'echo ran');
    await bench.requests(key, { count: 12 });
    await holder.letGo();
    await bench.ends(0, next);
    assert.equal(next.err(), '');
  });

  test('may be named behind options, and what stands behind -- is the command\'s', async () => {
    const argv = ['run', '--ttl', '5s', bench.key(), '--', 'echo', '--ttl', '1', '-E'];
    const one = await bench.ends(0, bench.start(bench.program, argv));
    assert.equal(one.out(), '--ttl 1 -E\n');
  });

  test('takes options behind KEY where POSIXLY_CORRECT is set', async () => {
    const one = await bench.ends(0, run(['--ttl', '5s'], ['echo', 'ran'], { env: { POSIXLY_CORRECT: '1' } }));
    assert.equal(one.out(), 'ran\n');
  });
});

describe('an example', CONCURRENTLY, () => {
  const example = name => readFileSync(join(ROOT, 'examples', name), 'utf8');
  // A folder of programs, in the place of those that an installation has.
  const installed = name => {
    const folder = bench.file(name);
    mkdirSync(folder);
    symlinkSync(bench.program, join(folder, 'dynalock'));
    return folder;
  };
  const program = (file, text) => writeFileSync(file, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  const endpoint = () => Object.fromEntries(Object.entries(bench.environment).filter(([name]) => name !== 'PATH'));

  test('dynalock.cron: of two hosts one does the job, and both are content', async () => {
    const folder = installed('cron');
    const lines = example('dynalock.cron').split('\n').filter(line => line && !line.startsWith('#'));
    const settings = lines.filter(line => /^[A-Z_]+=/.test(line)).map(line => line.split(/=(.*)/).slice(0, 2));
    const jobs = lines.filter(line => !/^[A-Z_]+=/.test(line));
    assert.equal(jobs.length, 1);
    const [, command] = /^(?:\S+\s+){5}(.*)$/.exec(jobs[0]);
    assert.doesNotMatch(command, /%/); // to cron it is the end of the line
    const variables = Object.fromEntries(settings);
    assert.match(variables.PATH, /^\/usr\/local\/bin:/);
    const out = bench.file('cron-report');
    program(join(folder, 'nightly-report'), `echo "$DYNALOCK_KEY" >>${out}`);
    program(join(folder, 'sleep'), `until [ -e ${out}.enough ]; do /bin/sleep 0.05; done`);
    // As cron does it, but for where things are: programs, region and table.
    const path = variables.PATH.replace('/usr/local/bin', folder);
    const env = { ...variables, ...endpoint(), PATH: path, LOGNAME: 'root' };
    const host = () => {
      const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
      return bench.start('env', ['-i', ...set, variables.SHELL, '-c', command], { cwd: bench.folder });
    };
    const first = host();
    await eventually(() => existsSync(out), 'the job');
    const second = await bench.ends(0, host());
    assert.equal(second.err(), ''); // or cron would send it by mail
    writeFileSync(`${out}.enough`, '');
    await bench.ends(0, first);
    assert.equal(first.err(), '');
    assert.equal(readFileSync(out, 'utf8'), 'nightly-report\n');
  });

  const unit = example('dynalock-job.service');
  const section = name => new RegExp(`^\\[${name}\\]\\n([^]*?)(?=^\\[|$(?![^]))`, 'm').exec(unit)[1];
  const setting = (part, name) => new RegExp(`^${name}=(.*)$`, 'm').exec(section(part))?.[1];
  const analyze = spawnSync('systemd-analyze', ['--version']).status === 0;

  const verdict = analyze ? 'systemd-analyze verify has no objection' : 'its lines are settings in sections';

  test(`dynalock-job.service: ${verdict}`, async () => {
    for (const line of unit.split('\n')) assert.match(line, /^(#.*|\[(Unit|Service|Install)\]|[A-Z][A-Za-z]+=.*|)$/);
    if (!analyze) return;
    const file = bench.file('dynalock-job.service');
    const here = unit.replace('/usr/bin/dynalock', bench.program).replace('/usr/local/bin/the-job', '/bin/true');
    writeFileSync(file, here);
    const verify = await bench.ends(0, bench.start('systemd-analyze', ['verify', '--man=no', file]));
    assert.equal(verify.out() + verify.err(), '');
  });

  test('dynalock-job.service: what it starts ends, and releases the lock, when stopped as it says', async () => {
    assert.equal(setting('Service', 'KillMode'), 'mixed'); // so the signal goes to dynalock alone
    const folder = installed('service');
    program(join(folder, 'the-job'), 'trap "echo tidied; exit 0" TERM; echo up; while :; do sleep 0.05; done');
    const variables = Object.fromEntries(setting('Service', 'Environment').split(' ').map(pair => pair.split('=')));
    assert.deepEqual(Object.keys(variables), ['AWS_REGION', 'DYNALOCK_TABLE']);
    const line = setting('Service', 'ExecStart').replace(/\/usr\/(local\/)?bin/g, folder);
    const argv = line.replace('%H', 'host-1').split(' ');
    const one = bench.start(argv[0], argv.slice(1));
    await one.until(/up/);
    const other = bench.start(bench.program, ['-v', 'run', 'the-job', '--try', '--', 'true']);
    await bench.ends(75, other);
    assert.match(other.err(), /held by host-1/);
    one.kill(setting('Service', 'KillSignal'));
    await bench.ends(0, one);
    assert.equal(one.out(), 'up\ntidied\n');
    await bench.ends(0, bench.start(bench.program, ['run', 'the-job', '--try', '--', 'true']));
  });
});

test('nothing that was started here is left running', async () => {
  await eventually(() => bench.left().length === 0, `the end of ${bench.left()}`);
});

test('the server had no objection to any request', async () => {
  const { violations } = await bench.control.ask({ cmd: 'counts', proxy: bench.proxy.proxy });
  assert.deepEqual(violations, []);
});

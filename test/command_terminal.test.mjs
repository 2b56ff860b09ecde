// SPDX-License-Identifier: Apache-2.0
//
// `dynalock run` on a terminal: what it shows as it waits, whose the terminal is, and jobs that are stopped and go on.
// The terminal is script(1)'s, and an interactive bash is at it.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import {
  childrenOf, commandOf, eventually, foregroundOf, groupOf, guardianOf, isAlive, isStopped, membersOf, openBench,
  ticksOf,
} from './command_support.mjs';

const CONCURRENTLY = { concurrency: true, timeout: 40_000 };
const [INTERRUPT, QUIT, STOP] = ['\x03', '\x1c', '\x1a'];
const ERASED = '\r\x1b[K';
let bench;

before(async () => { bench = await openBench(); });
after(() => bench?.close());

// A terminal. What is typed is echoed: patterns are about what commands make of it, as 2 of $((1 + 1)).
// → { type(text), enter(line), until(pattern): what comes next, shell: its process, leave() }
async function terminal(env = {}) {
  const run = bench.start('script', ['-qefc', 'exec bash --norc --noprofile --noediting -i', '/dev/null'], {
    input: null, env: { SHELL: '/bin/sh', TERM: 'xterm', PS1: '\\$ ', HISTFILE: '', ...env },
  });
  let seen = 0;
  const it = {
    run,
    type: text => run.say(text),
    enter: line => run.say(`${line}\n`),
    until: async pattern => {
      const match = await run.until(pattern, 'out', seen).catch(error => {
        error.message += `\n${bench.tellProcesses()}`;
        throw error;
      });
      const text = run.out().slice(seen, seen + match.index + match[0].length);
      seen += text.length;
      return { match, text };
    },
    // What the shell is asked is answered: it has the terminal.
    answers: async () => {
      it.enter('echo answer-$((40 + 2))');
      await it.until(/answer-42/);
    },
    // Of what was in the foreground. On a line of its own: after Ctrl-C bash leaves the rest of a line undone.
    status: async () => {
      await eventually(() => foregroundOf(it.shell) === groupOf(it.shell), 'the shell in the foreground');
      it.enter('echo status-$?-');
      return Number((await it.until(/status-(\d+)-/)).match[1]);
    },
    dynalock: () => eventually(() => childrenOf(it.shell).find(({ name }) => name === 'dynalock')?.pid, 'dynalock'),
    leave: async () => {
      await it.answers();
      it.enter('exit');
      await bench.ends(0, run);
    },
  };
  it.enter('echo shell-$(($$))-');
  it.shell = Number((await it.until(/shell-(\d+)-\r?\n/)).match[1]);
  return it;
}

// Not sh's: where that starts programs by vfork, and the child is stopped before it has become one, sh cannot be.
const counts = file => `trap "exit 5" INT; while :; do echo >>${file}; sleep 0.02; done`;
const COUNTS = file => `bash -c '${counts(file)}'`;
const sizeOf = file => { try { return statSync(file).size; } catch { return 0; } };

// It counts, in a file, and goes on doing so.
async function counting(file) {
  const size = sizeOf(file);
  await eventually(() => sizeOf(file) > size + 2, 'counting');
}

describe('waiting on a terminal', CONCURRENTLY, () => {
  test('tells who holds the lock, and for how long; when it is acquired, the line is gone', async () => {
    const key = bench.key();
    const holder = await bench.hold(key, ['--holder', 'Ann \x1b[31m of payroll']);
    const it = await terminal();
    it.enter(`dynalock run ${key} --poll 200ms -- echo got-$((1 + 1))`);
    const held = 'held for [\\d.]+m?s by Ann [ ?]\\[31m of payroll';
    const shown = new RegExp(`\\rdynalock: ${key}: ${held}; waiting for 0m?s\\x1b\\[K`);
    await it.until(shown);
    await it.until(/waiting for 1(\.0)?s\x1b\[K/);
    await holder.letGo();
    const { text } = await it.until(/got-2/);
    assert.ok(text.endsWith(`${ERASED}got-2`), JSON.stringify(text));
    await it.leave();
  });

  test('is as wide as the terminal at the most', async () => {
    const key = bench.key();
    const holder = await bench.hold(key, ['--holder', 'a holder with a long name, longer than the line']);
    const it = await terminal();
    it.enter('stty cols 40');
    it.enter(`dynalock run ${key} --wait 1s --poll 200ms -- true; echo st-$?`);
    const { match } = await it.until(/\r(dynalock: [^\r\x1b]*)\x1b\[K/);
    assert.equal(match[1].length, 39);
    const { text } = await it.until(/st-75/);
    assert.ok(text.includes(`${ERASED}dynalock: ${key}: `), JSON.stringify(text));
    await holder.letGo();
    await it.leave();
  });

  test('says nothing where standard error is a file, or the terminal is dumb', async () => {
    const key = bench.key();
    const file = bench.file('error');
    const holder = await bench.hold(key);
    const [it, dumb] = await Promise.all([terminal(), terminal({ TERM: 'dumb' })]);
    it.enter(`dynalock run ${key} --wait 1500ms --poll 200ms -- true 2>${file}; echo status-$?`);
    dumb.enter(`dynalock run ${key} --wait 1500ms --poll 200ms -- true; echo status-$?`);
    for (const { text } of await Promise.all([it.until(/status-75/), dumb.until(/status-75/)])) {
      assert.doesNotMatch(text, /waiting for|\x1b\[K/);
    }
    assert.match(readFileSync(file, 'utf8'), /^(dynalock: [^\r\n]*\n)+$/);
    await holder.letGo();
    await Promise.all([it.leave(), dumb.leave()]);
  });

  test('tells of a Go program that holds it, too', async () => {
    const key = bench.key();
    await bench.control.ask({
      cmd: 'go', server: process.env.DYNALOCK_TEST_SERVER, table: bench.table, partition: 'Lock', call: 'lock', key,
    });
    const it = await terminal();
    it.enter(`dynalock run ${key} --poll 200ms -- true`);
    await it.until(/dynalock: \S+: held .*waiting for/);
    it.type(INTERRUPT);
    assert.equal(await it.status(), 130);
    await it.leave();
  });

  for (const [name, typed, status] of [['Ctrl-C', INTERRUPT, 130], ['Ctrl-\\', QUIT, 131]]) {
    test(`ends by ${name}, and the line is gone`, async () => {
      const key = bench.key();
      const holder = await bench.hold(key);
      const tenure = await bench.tenure(key);
      const it = await terminal();
      it.enter(`dynalock run ${key} --poll 200ms -- echo ran-$((1 + 1))`);
      await it.until(/waiting for/);
      it.type(typed);
      const { text } = await it.until(new RegExp(`${ERASED.replace('[', '\\[')}[^]*# `));
      assert.doesNotMatch(text, /ran-2/);
      assert.equal(await it.status(), status);
      assert.equal(await bench.tenure(key), tenure);
      await holder.letGo();
      await it.leave();
    });
  }

  test('is stopped by Ctrl-Z, and goes on with fg', async () => {
    const key = bench.key();
    const holder = await bench.hold(key);
    const it = await terminal();
    it.enter(`dynalock run ${key} --poll 200ms -- echo ran-$((1 + 1))`);
    await it.until(/waiting for/);
    it.type(STOP);
    const { text } = await it.until(/Stopped/);
    assert.ok(text.includes(ERASED), JSON.stringify(text));
    await it.answers();
    it.enter('fg');
    await it.until(/waiting for/);
    await holder.letGo();
    await it.until(/ran-2/);
    await it.leave();
  });
});

describe('the command on a terminal', CONCURRENTLY, () => {
  test('gets Ctrl-C alone, may make of it what it likes, and the shell goes on', async () => {
    const it = await terminal();
    const script = `trap 'echo trapped-$((1 + 1)); exit 5' INT; echo up-$((1 + 1)); while :; do sleep 0.05; done`;
    it.enter(`dynalock run ${bench.key()} -- sh -c "${script.replaceAll('$', '\\$')}"`);
    await it.until(/up-2/);
    it.type(INTERRUPT);
    await it.until(/trapped-2/);
    assert.equal(await it.status(), 5);
    await it.leave();
  });

  test('dies by Ctrl-C as it would without, and the lock is released', async () => {
    const key = bench.key();
    const it = await terminal();
    it.enter(`dynalock run ${key} -- sh -c 'echo up-$((1 + 1)); exec sleep 1000'`);
    await it.until(/up-2/);
    it.type(INTERRUPT);
    assert.equal(await it.status(), 130);
    assert.equal(await bench.record(key), null);
    await it.leave();
  });

  test('reads from it, and the shell does after that', async () => {
    const it = await terminal();
    it.enter(`dynalock run ${bench.key()} -- sh -c 'echo up-$((1 + 1)); read x; echo "said-$((1 + 1))-$x"'`);
    await it.until(/up-2/);
    const dynalock = await it.dynalock();
    assert.equal(foregroundOf(it.shell), commandOf(dynalock));
    it.enter('hello');
    await it.until(/said-2-hello/);
    await it.leave();
  });

  test('leaves it to the shell where it cannot be executed', async () => {
    const it = await terminal();
    it.enter(`dynalock run ${bench.key()} -- no-such-command; echo status-$?`);
    await it.until(/status-127/);
    await it.leave();
  });

  test('is stopped by Ctrl-Z, dynalock too, and goes on with fg, under the same lock', async () => {
    const key = bench.key();
    const file = bench.file('stopped');
    const it = await terminal();
    it.enter(`dynalock run ${key} -- ${COUNTS(file)}`);
    await counting(file);
    const dynalock = await it.dynalock();
    const command = commandOf(dynalock);
    const tenure = await bench.tenure(key);
    for (let turn = 0; turn < 2; turn++) {
      it.type(STOP);
      await it.until(/Stopped/);
      await it.answers();
      assert.ok(isStopped(dynalock) && isStopped(command));
      const size = sizeOf(file);
      it.enter('jobs');
      await it.until(/Stopped .*dynalock/);
      assert.equal(sizeOf(file), size);
      it.enter('fg');
      await counting(file);
      assert.equal(foregroundOf(it.shell), command);
    }
    assert.equal(await bench.tenure(key), tenure);
    it.type(INTERRUPT);
    assert.equal(await it.status(), 5);
    assert.equal(await bench.record(key), null);
    await it.leave();
  });

  test('goes on in the background with bg, if it does not read', async () => {
    const file = bench.file('bg');
    const it = await terminal();
    it.enter(`dynalock run ${bench.key()} -- ${COUNTS(file)}`);
    await counting(file);
    it.type(STOP);
    await it.until(/Stopped/);
    it.enter('bg');
    await counting(file);
    await it.answers();
    assert.equal(foregroundOf(it.shell), groupOf(it.shell));
    it.enter('fg');
    await eventually(() => foregroundOf(it.shell) !== groupOf(it.shell), 'in the foreground');
    await counting(file);
    it.type(INTERRUPT);
    await eventually(() => childrenOf(it.shell).length === 0, 'the end');
    await it.leave();
  });

  test('started with &, does not take it', async () => {
    const file = bench.file('background');
    const it = await terminal();
    it.enter(`dynalock run ${bench.key()} -- ${COUNTS(file)} &`);
    await counting(file);
    assert.equal(foregroundOf(it.shell), groupOf(it.shell));
    await it.answers();
    it.type(INTERRUPT);
    await it.until(/\^C[^]*# /);
    await it.answers();
    await counting(file);
    it.enter('kill -TERM %1; wait %1; echo status-$?');
    await it.until(/status-143/);
    await it.leave();
  });

  test('started with &, is stopped as it reads, and reads after fg', async () => {
    const it = await terminal();
    it.enter(`dynalock run ${bench.key()} -- sh -c 'read x; echo "said-$((1 + 1))-$x"' &`);
    const dynalock = await it.dynalock();
    await eventually(() => isStopped(dynalock), 'stopped');
    it.enter('');
    await it.until(/Stopped/);
    await it.answers();
    it.enter('fg');
    await eventually(() => foregroundOf(it.shell) === commandOf(dynalock), 'in the foreground');
    it.enter('hello');
    await it.until(/said-2-hello/);
    await it.leave();
  });

  test('is continued by itself where only it was stopped, by SIGSTOP, and dynalock keeps the lease', async () => {
    const key = bench.key();
    const file = bench.file('sigstop');
    const it = await terminal();
    it.enter(`dynalock run ${key} --ttl 6s -- ${COUNTS(file)}`);
    await counting(file);
    const dynalock = await it.dynalock();
    const command = commandOf(dynalock);
    process.kill(-command, 'SIGSTOP');
    await bench.requests(key, { op: 'UpdateItem', state: 'answered', count: 2 });
    assert.deepEqual([isStopped(command), isStopped(dynalock)], [true, false], bench.tellProcesses());
    process.kill(-command, 'SIGCONT');
    await counting(file);
    it.type(INTERRUPT);
    assert.equal(await it.status(), 5);
    await it.leave();
  });

  for (const who of ['the guardian', 'dynalock']) {
    test(`that stood still past its lease never goes on; who sees to that: ${who}`, async () => {
      const key = bench.key();
      const file = bench.file(`past-${who.length}`);
      const it = await terminal();
      it.enter(`dynalock run ${key} --ttl 3s -- ${COUNTS(file)}`);
      await counting(file);
      const dynalock = await it.dynalock();
      const [command, guardian] = [commandOf(dynalock), guardianOf(dynalock)];
      if (who !== 'the guardian') process.kill(guardian, 'SIGSTOP');
      it.type(STOP);
      await it.until(/Stopped/);
      const size = sizeOf(file);
      // Another has the lock meanwhile, so it is over.
      const next = await bench.hold(key, ['--poll', '100ms']);
      assert.equal(isAlive(command), who !== 'the guardian');
      it.enter('fg; echo status-$?');
      await it.until(/the lock is lost [^]*status-76/);
      assert.deepEqual(membersOf(command), []);
      assert.equal(sizeOf(file), size);
      assert.ok(!isAlive(guardian));
      await next.letGo();
      await it.leave();
    });
  }

  for (const [name, script] of [['pipeline', 'COMMAND | cat'], ['script', 'COMMAND; echo after-$?']]) {
    test(`in a ${name} is stopped with all of it, and goes on with fg`, async () => {
      const file = bench.file(name);
      const job = bench.file(`${name}-job`);
      writeFileSync(job, script.replace('COMMAND', `dynalock run ${bench.key()} -- ${COUNTS(file)}`));
      const it = await terminal();
      it.enter(name === 'script' ? `sh ${job}` : `. ${job}`);
      await counting(file);
      it.type(STOP);
      await it.until(/Stopped/);
      await it.answers();
      it.enter('fg');
      await counting(file);
      it.type(INTERRUPT);
      await eventually(() => childrenOf(it.shell).length === 0, 'the end');
      await it.leave();
    });
  }

  test('in a script that Ctrl-C would end ends with it', async () => {
    const key = bench.key();
    const job = bench.file('loop');
    const command = 'sh -c \'echo up-$((1 + 1)); exec sleep 1000\'';
    writeFileSync(job, `while :; do dynalock run ${key} -- ${command}; done; echo after`);
    const it = await terminal();
    it.enter(`sh ${job}`);
    await it.until(/up-2/);
    it.type(INTERRUPT);
    const { text } = await it.until(/\^C[^]*# /);
    assert.doesNotMatch(text, /up-2|after/);
    assert.equal(await bench.record(key), null);
    await it.leave();
  });

  // Its group is the pipeline's, or the script's: they use the terminal while it runs.
  test('in a pipeline leaves it to a reader as less is, and is not stopped', async () => {
    const key = bench.key();
    const job = bench.file('pager');
    const reader = 'sh -c \'echo up-$((1 + 1)); read a </dev/tty; echo "got-$a"; wc -l\'';
    writeFileSync(job, `dynalock run ${key} --ttl 3s -- sh -c 'seq 100; sleep 1000; date' | ${reader}`);
    const it = await terminal();
    it.enter(`. ${job}`);
    await it.until(/up-2/);
    await bench.requests(key, { op: 'UpdateItem', state: 'answered', count: 2 });
    const dynalock = await it.dynalock();
    assert.equal(isStopped(dynalock), false, bench.tellProcesses());
    it.enter('this');
    await it.until(/got-this/);
    process.kill(childrenOf(commandOf(dynalock)).find(({ name }) => name === 'sleep').pid, 'SIGTERM');
    await it.until(/101\r?\n/);
    assert.equal(await it.status(), 0);
    await it.leave();
  });

  test('in a pipeline is stopped by Ctrl-Z, goes on with fg, and dies by Ctrl-C', async () => {
    const key = bench.key();
    const file = bench.file('piped');
    const it = await terminal();
    it.enter(`dynalock run ${key} -- ${COUNTS(file)} | cat`);
    await counting(file);
    const dynalock = await it.dynalock();
    const tenure = await bench.tenure(key);
    it.type(STOP);
    await it.until(/Stopped/);
    await it.answers();
    assert.ok(isStopped(dynalock) && isStopped(commandOf(dynalock)));
    it.enter('fg');
    await counting(file);
    assert.equal(foregroundOf(it.shell), groupOf(dynalock));
    assert.equal(await bench.tenure(key), tenure);
    it.type(INTERRUPT);
    await eventually(() => childrenOf(it.shell).length === 0, 'the end');
    assert.equal(await bench.record(key), null);
    await it.leave();
  });

  test('started with & by a script leaves it to the script', async () => {
    const key = bench.key();
    const job = bench.file('asks');
    writeFileSync(job, [
      `dynalock run ${key} -- sh -c 'echo up-$((1 + 1)); exec sleep 1000' & job=$!`,
      'read y; echo "said-$((1 + 1))-$y"; kill $job; wait $job; echo ended-$?',
    ].join('\n'));
    const it = await terminal();
    it.enter(`sh ${job}`);
    await it.until(/up-2/);
    it.enter('hello');
    await it.until(/said-2-hello/);
    await it.until(/ended-143/);
    assert.equal(await bench.record(key), null);
    await it.leave();
  });

  test('started twice with & by a script leaves Ctrl-C to the script', async () => {
    const keys = [bench.key(), bench.key()];
    const job = bench.file('both');
    const start = key => `dynalock run ${key} -- sh -c 'echo up-$((1 + 1)); exec sleep 1000' & jobs="$jobs $!"`;
    writeFileSync(job, [
      'trap \'kill $jobs; wait; echo over-$((1 + 1)); exit 3\' INT', ...keys.map(start), 'wait',
    ].join('\n'));
    const it = await terminal();
    it.enter(`sh ${job}`);
    await it.until(/up-2[^]*up-2/);
    it.type(INTERRUPT);
    await it.until(/over-2/);
    assert.equal(await it.status(), 3);
    assert.deepEqual(await Promise.all(keys.map(key => bench.record(key))), [null, null]);
    await it.leave();
  });

  test('with its output elsewhere gets it when it reads; Ctrl-C after Ctrl-Z and fg', async () => {
    const file = bench.file('elsewhere');
    const it = await terminal();
    const script = 'trap "echo trapped; exit 5" INT; read x </dev/tty; echo "said-$x"; while :; do sleep 0.05; done';
    it.enter(`dynalock run ${bench.key()} -- bash -c '${script}' >${file}`);
    const dynalock = await it.dynalock();
    const lent = () => eventually(() => {
      const command = commandOf(dynalock);
      return foregroundOf(it.shell) === command && !isStopped(command);
    }, 'lent');
    await lent();
    it.enter('hello');
    await eventually(() => sizeOf(file) > 0, 'the answer');
    assert.equal(readFileSync(file, 'utf8'), 'said-hello\n');
    it.type(STOP);
    await it.until(/Stopped/);
    await it.answers();
    it.enter('fg');
    await eventually(() => !isStopped(commandOf(dynalock)), 'continued');
    it.type(INTERRUPT);
    assert.equal(await it.status(), 5);
    assert.equal(readFileSync(file, 'utf8'), 'said-hello\ntrapped\n');
    await it.leave();
  });

  test('with its input elsewhere gets it when it sets it up', async () => {
    const it = await terminal();
    const script = 'stty -echo </dev/tty; read x </dev/tty; stty echo </dev/tty; echo "said-$((1 + 1))-$x-$(cat)"';
    it.enter(`echo piped | dynalock run ${bench.key()} -- sh -c 'echo up-$((1 + 1)); ${script}'`);
    await it.until(/up-2/);
    await eventually(() => foregroundOf(it.shell) !== groupOf(it.shell), 'lent');
    it.enter('hello');
    await it.until(/said-2-hello-piped/);
    await it.leave();
  });

  test('with its output elsewhere dies by Ctrl-C, and a script that Ctrl-C would end does', async () => {
    const key = bench.key();
    const file = bench.file('quiet');
    const job = bench.file('quiet-loop');
    const command = 'sh -c \'echo up; exec sleep 1000\'';
    writeFileSync(job, `while :; do dynalock run ${key} -- ${command} >>${file}; done; echo after`);
    const it = await terminal();
    it.enter(`bash ${job}`);
    await eventually(() => sizeOf(file) > 0, 'the command');
    it.type(INTERRUPT);
    assert.equal(await it.status(), 130);
    assert.equal(readFileSync(file, 'utf8'), 'up\n');
    assert.equal(await bench.record(key), null);
    await it.leave();
  });

  test('that reads in an orphaned group, where nothing can stop dynalock, does not make it spin', async () => {
    const file = bench.file('orphaned');
    const it = await terminal();
    it.enter(`(dynalock run ${bench.key()} -- sh -c 'echo $PPID $$ >${file}; read x </dev/tty' &)`);
    await eventually(() => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'), 'the command');
    const pids = readFileSync(file, 'utf8').trim().split(' ').map(Number);
    const used = () => pids.filter(isAlive).reduce((sum, pid) => sum + ticksOf(pid), 0);
    const began = Date.now();
    const before = used();
    await eventually(() => Date.now() - began > 1000, 'a second');
    assert.ok(used() - before < 20, `${used() - before} ticks of 100 in a second`);
    await it.answers();
    for (const pid of pids.filter(isAlive)) process.kill(pid, 'SIGKILL');
    await it.leave();
  });

  test('ends with its terminal', async () => {
    const key = bench.key();
    const it = await terminal();
    it.enter(`dynalock run ${key} -- sh -c 'echo up-$((1 + 1)); exec sleep 1000'`);
    await it.until(/up-2/);
    const dynalock = await it.dynalock();
    const command = commandOf(dynalock);
    it.run.kill('SIGKILL');
    await eventually(() => !isAlive(command) && !isAlive(dynalock), 'the end');
    assert.equal(await bench.record(key), null);
  });
});

test('nothing that was started here is left running', async () => {
  await eventually(() => bench.left().length === 0, `the end of ${bench.left()}`);
});

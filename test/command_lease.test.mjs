// SPDX-License-Identifier: Apache-2.0
// servers: local
//
// `dynalock run`: nothing of the command outlives the lease, whatever becomes of the network and of dynalock itself.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { commandOf, eventually, guardianOf, isAlive, membersOf, monotonicMs, openBench } from './command_support.mjs';

const times = (n, make) => Promise.all(Array.from({ length: n }, (_, i) => make(i)));
const smallest = numbers => Math.round(Math.min(...numbers));
const greatest = numbers => Math.round(Math.max(...numbers));
let bench;

before(async () => { bench = await openBench(); });
after(() => bench?.close());

// Starts a command of a leader, a child of it and a grandchild, and waits until all are there; before: to be done by
// each of them. → { run, key, line }
async function guarded(options, before = ':') {
  const key = bench.key();
  const line = bench.lifeline();
  const run = bench.run(key, options, `${before}; exec 3>"$LINE"
    sh -c '(exec sleep 1000) & echo ready >&3; exec sleep 1000' & exec 4>&1; wait; wait`, { env: { LINE: line.path } });
  await Promise.race([line.begun, run.ended.then(() => { throw new Error(run.tell()); })]);
  return { run, key, line };
}

test('of the command nothing is left once dynalock is killed, in 20 of 20 runs', { timeout: 40_000 }, async t => {
  const all = await times(20, async () => {
    const line = bench.lifeline();
    const script = 'exec 3>"$LINE"; (echo ready >&3; exec sleep 1000) | sleep 1001';
    const run = bench.run(bench.key(), [], script, { env: { LINE: line.path } });
    await line.begun;
    const group = commandOf(run.pid);
    await eventually(() => membersOf(group).length === 3, 'three processes');
    return { run, line, group, guardian: guardianOf(run.pid) };
  });
  const began = monotonicMs();
  for (const { run } of all) run.kill('SIGKILL');
  const waits = (await Promise.all(all.map(({ line }) => line.ended))).map(ended => ended - began);
  for (const { run, group, guardian } of all) {
    assert.deepEqual(membersOf(group), []);
    await eventually(() => !isAlive(guardian), 'the end of the guardian');
    assert.equal(await run.ended, 'SIGKILL');
  }
  t.diagnostic(`dead ${smallest(waits)} to ${greatest(waits)} ms after the SIGKILL to dynalock`);
  assert.ok(greatest(waits) < 2000);
});

describe('of the command nothing is left', { concurrency: true, timeout: 40_000 }, () => {
  test('before the lease ends of which nothing is heard any more, TERM or not, in 20 of 20 runs', async t => {
    const distances = await times(20, async index => {
      const { run, key, line } = await guarded(['--ttl', '6s'], 'trap "" TERM');
      if (index % 2) await bench.requests(key, { op: 'UpdateItem', state: 'answered' });
      await bench.fault(key, 'blackhole');
      const died = await line.ended;
      const diedAt = Date.now() + died - monotonicMs();
      const item = await bench.record(key); // a renewal from before the fault may have been under way
      await bench.ends(76, run);
      assert.match(run.err(), /telling the command to end/);
      assert.match(run.err(), /killing the command/);
      return { lease: await bench.leaseEnd(key, 6000) - died, record: Number(item.expires.N) * 1000 - diedAt };
    });
    const leases = distances.map(({ lease }) => lease);
    const records = distances.map(({ record }) => record);
    t.diagnostic(`all dead ${smallest(leases)} to ${greatest(leases)} ms before the last renewal + 6000 ms; ` +
      `${smallest(records)} ms before the record's expiry at the least`);
    assert.ok(smallest(leases) > 0 && smallest(records) > 0);
  });

  test('once dynalock is killed after its guardian was', async () => {
    const { run, key, line } = await guarded(['--ttl', '8s']);
    for (let turn = 0; turn < 3; turn++) {
      const first = guardianOf(run.pid);
      process.kill(first, 'SIGKILL');
      await eventually(() => ![first, undefined].includes(guardianOf(run.pid)), 'another guardian');
    }
    // The new one knows the deadline, too, and that it moves.
    await bench.requests(key, { op: 'UpdateItem', state: 'answered' });
    assert.ok(isAlive(commandOf(run.pid)));
    run.kill('SIGKILL');
    await line.ended;
    assert.equal(run.err(), '');
  });

  test('before the lease ends while dynalock stands still', async t => {
    const distances = await times(5, async index => {
      const { run, key, line } = await guarded(['--ttl', '5s']);
      if (index % 2) await bench.requests(key, { op: 'UpdateItem', state: 'answered' });
      run.kill('SIGSTOP');
      const died = await line.ended;
      const distance = await bench.leaseEnd(key, 5000) - died;
      run.kill('SIGCONT');
      await bench.ends(76, run);
      return distance;
    });
    t.diagnostic(`dead ${smallest(distances)} to ${greatest(distances)} ms before the lease's end`);
    assert.ok(smallest(distances) > 0);
  });

  test('before the lease ends if its members are stopped', async () => {
    const { run, key, line } = await guarded(['--ttl', '5s']);
    process.kill(-commandOf(run.pid), 'SIGSTOP');
    await bench.fault(key, 'blackhole');
    const died = await line.ended;
    assert.ok(await bench.leaseEnd(key, 5000) - died > 0);
    await bench.ends(76, run);
  });

  test('at once, where the record is gone, or another has taken over', async t => {
    const waits = await times(4, async index => {
      const { run, key, line } = await guarded(['--ttl', '12s'], 'trap "" TERM');
      const other = index % 2 ? await bench.replace(key) : await bench.remove(key);
      const died = await line.ended;
      await bench.ends(76, run);
      assert.match(run.err(), index % 2 ? /the lock is lost \(taken over\)/ : /the lock is lost \(gone\)/);
      assert.doesNotMatch(run.err(), /telling the command/);
      const told = (await bench.log(key)).find(({ op, status }) => op === 'UpdateItem' && status === 400);
      assert.deepEqual(await bench.record(key), other ?? null);
      return died - told.answered_ms;
    });
    t.diagnostic(`dead ${smallest(waits)} to ${greatest(waits)} ms after the answer that told of it`);
    assert.ok(greatest(waits) < 3000);
  });

  test('after `dynalock break`', async () => {
    const { run, key, line } = await guarded(['--ttl', '4s']);
    await bench.ends(0, bench.start(bench.program, ['break', key, '--yes']));
    await line.ended;
    await bench.ends(76, run);
    assert.equal(await bench.record(key), null);
  });

  test('but what ends in time when told to, and that with its own status, which is 0', async () => {
    const key = bench.key();
    const script = 'trap "echo tidied; exit 0" TERM; echo up; while :; do sleep 0.05; done';
    const run = bench.run(key, ['--ttl', '4s'], script);
    await run.until(/up/);
    await bench.fault(key, 'blackhole');
    await bench.ends(0, run);
    assert.match(run.out(), /tidied/);
    assert.match(run.err(), /telling the command to end/);
    assert.doesNotMatch(run.err(), /killed/);
  });

  test('and one that is told to end, and fails, has lost its lock', async () => {
    const key = bench.key();
    const run = bench.run(key, ['--ttl', '4s'], 'trap "exit 3" TERM; echo up; while :; do sleep 0.05; done');
    await run.until(/up/);
    await bench.fault(key, 'blackhole');
    await bench.ends(76, run);
    assert.doesNotMatch(run.err(), /killed/);
  });

  test('and one whose network comes back in time never hears of it', async () => {
    const key = bench.key();
    const run = bench.run(key, ['--ttl', '15s'], 'trap "echo told" TERM; echo up; read line', { input: null });
    await run.until(/up/);
    await bench.fault(key, 'drop-before', { op: 'UpdateItem', times: 2 });
    await bench.requests(key, { op: 'UpdateItem', state: 'answered', count: 1 });
    run.child.stdin.end('\n');
    await bench.ends(0, run);
    assert.equal(run.out(), 'up\n');
  });
});

describe('what is left of the group when the command has ended', { concurrency: true, timeout: 40_000 }, () => {
  test('may end by itself within a second, and is not signalled', async () => {
    const script = 'sh -c \'trap "echo told" TERM; sleep 0.4; echo last\' & echo first';
    const run = await bench.ends(0, bench.run(bench.key(), [], script));
    assert.equal(run.out(), 'first\nlast\n');
  });

  test('is told to end after a second, and the lock is released after that', async () => {
    const key = bench.key();
    const file = bench.file('left-told');
    const member = `trap "sleep 0.5; echo ended >>${file}; exit" TERM; echo up >>${file}; while :; do sleep 0.05; done`;
    const run = bench.run(key, [], `sh -c '${member}' & until [ -s ${file} ]; do sleep 0.05; done; echo out; exit 4`);
    await run.until(/out/);
    const began = monotonicMs();
    const next = bench.run(key, ['--poll', '50ms'], `echo next >>${file}`);
    await bench.ends(4, run);
    const took = await run.exited - began;
    await bench.ends(0, next);
    assert.equal(readFileSync(file, 'utf8'), 'up\nended\nnext\n');
    assert.ok(took < 5000, `${took}`);
  });

  test('is killed after five seconds more', async t => {
    const { run, key, line } = await guarded([], 'trap "" TERM; trap "exit 5" USR1');
    const began = monotonicMs();
    process.kill(commandOf(run.pid), 'SIGUSR1');
    await eventually(() => monotonicMs() - began > 5000, 'five seconds');
    assert.ok(await bench.record(key) !== null);
    const died = await line.ended;
    await bench.ends(5, run);
    assert.equal(await bench.record(key), null);
    t.diagnostic(`killed after ${Math.round(died - began)} ms`);
    assert.ok(died - began > 5900 && died - began < 9000, `${died - began}`);
  });

  test('is killed before the lease ends, if that is sooner', async () => {
    const { run, key, line } = await guarded(['--ttl', '4s'], 'trap "" TERM');
    await bench.fault(key, 'blackhole');
    process.kill(commandOf(run.pid), 'SIGKILL');
    const died = await line.ended;
    assert.ok(await bench.leaseEnd(key, 4000) - died > 0);
    await bench.ends(76, run);
  });

  test('is not what has left the group: that lives on', async () => {
    const key = bench.key();
    const away = 'setsid sh -c \'echo $$; exec sleep 1000 >/dev/null 2>&1\' &';
    const run = bench.run(key, [], `${away} cat`, { input: null });
    const pid = Number((await run.until(/^(\d+)\n/))[1]);
    run.child.stdin.end();
    await bench.ends(0, run);
    assert.ok(isAlive(pid));
    assert.equal(await bench.record(key), null);
    process.kill(pid, 'SIGKILL');
  });
});

test('a hundred that count up the same file lose no count', { timeout: 60_000 }, async t => {
  const key = bench.key();
  const file = bench.file('count');
  writeFileSync(file, '0\n');
  const began = monotonicMs();
  const script = `read n <${file}; n=$((n + 1)); echo $n >${file}`;
  await times(100, () => bench.ends(0, bench.run(key, ['--poll', '300ms'], script), 55_000));
  t.diagnostic(`${Math.round(monotonicMs() - began)} ms`);
  assert.equal(readFileSync(file, 'utf8'), '100\n');
  assert.equal(await bench.record(key), null);
});

test('nothing that was started here is left running', async () => {
  await eventually(() => bench.left().length === 0, `the end of ${bench.left()}`);
});

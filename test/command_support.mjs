// SPDX-License-Identifier: Apache-2.0
// For the tests of `dynalock run`: a table and a proxy of their own, programs, and what becomes of processes.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { connectRig } from './rig/client.mjs';
import { clientOf, monotonicMs } from './rig/proxy.mjs';

export const ROOT = resolve(import.meta.dirname, '..');
export const SERVER = process.env.DYNALOCK_TEST_SERVER;
const PARTITION = 'Lock';
const LIMIT_MS = 20_000; // nothing here takes as long, on however busy a machine

export { monotonicMs };

// Until condition() is true, or is what it resolves to. → that
export async function eventually(condition, what) {
  for (const deadline = Date.now() + LIMIT_MS; Date.now() < deadline; await sleep(10)) {
    const result = await condition();
    if (result) return result;
  }
  throw new Error(`never: ${what}`);
}

// ---- What proc(5) tells -------------------------------------------------------------------------

function statOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const name = text.slice(text.indexOf('(') + 1, text.lastIndexOf(')'));
    const [state, ...rest] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const [parent, group, , , foreground, , , , , , user, system] = rest.map(Number);
    return { pid, name, state, parent, group, foreground, ticks: user + system };
  } catch {
    return null;
  }
}

const living = stat => stat !== null && !/[ZX]/.test(stat.state);
const processes = () => readdirSync('/proc').filter(name => /^\d+$/.test(name)).map(Number).map(statOf).filter(living);
export const isAlive = pid => living(statOf(pid));
export const isStopped = pid => statOf(pid)?.state === 'T';
export const groupOf = pid => statOf(pid)?.group;
export const foregroundOf = pid => statOf(pid)?.foreground; // the group that has its terminal
export const ticksOf = pid => statOf(pid)?.ticks ?? 0; // of the processor's time, a hundred a second
export const membersOf = group => processes().filter(stat => stat.group === group);
export const childrenOf = pid => processes().filter(stat => stat.parent === pid);
export const guardianOf = pid => childrenOf(pid).find(({ name }) => name === 'lease-guardian')?.pid;
export const commandOf = pid => childrenOf(pid).find(({ name }) => name !== 'lease-guardian')?.pid;

// ---- A bench ------------------------------------------------------------------------------------

// All that a file of tests uses; variant: of the build. Close it when done.
export async function openBench(variant = 'release') {
  const bench = new Bench(process.env.DYNALOCK_TEST_VARIANT ?? variant);
  await bench.open();
  return bench;
}

class Bench {
  constructor(variant) {
    this.program = join(ROOT, `build/${variant}/dynalock`);
    this.table = `run-${process.pid}`;
    this.mark = `${process.pid}-${Math.random()}`;
    this.keys = 0;
    this.lines = [];
  }

  async open() {
    this.control = await connectRig(Number(process.env.DYNALOCK_TEST_RIG));
    this.proxy = await this.control.ask({ cmd: 'proxy', server: SERVER });
    await this.control.ask({ cmd: 'table', server: SERVER, name: this.table });
    this.folder = mkdtempSync(join(tmpdir(), 'dynalock-run-'));
    this.bin = join(this.folder, 'bin');
    execFileSync('mkdir', [this.bin]);
    symlinkSync(this.program, join(this.bin, 'dynalock'));
    this.environment = {
      PATH: `${this.bin}:${process.env.PATH}`,
      HOME: this.folder,
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => /^[ALU]SAN_OPTIONS$|^UBSAN/.test(name))),
      ...clientOf(this.proxy.port),
      AWS_EC2_METADATA_DISABLED: 'true',
      DYNALOCK_TABLE: this.table,
      DYNALOCK_TEST_MARK: this.mark,
    };
  }

  // Ends all that was started here, and all that came of it.
  async close() {
    for (const pid of this.left()) process.kill(pid, 'SIGKILL');
    await this.watch?.terminate();
    this.control?.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  // The processes that were started here, or come of such, and live.
  left() {
    const mark = `DYNALOCK_TEST_MARK=${this.mark}`;
    return processes().map(({ pid }) => pid).filter(pid => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark);
      } catch {
        return false;
      }
    });
  }

  tellProcesses() {
    return this.left().map(pid => JSON.stringify(statOf(pid))).join('\n');
  }

  key() {
    this.keys += 1;
    return `job-${this.keys}`;
  }

  file(name) {
    return join(this.folder, name);
  }

  // ---- The lock's record, past every proxy

  async raw(op, input) {
    const { error, result } = await this.control.ask({ cmd: 'raw', server: SERVER, op, input });
    assert.equal(error, undefined);
    return result;
  }

  id(key) {
    return { TableName: this.table, Key: { id: { S: PARTITION }, name: { S: key } } };
  }

  async record(key) {
    return (await this.raw('GetItem', { ...this.id(key), ConsistentRead: true })).Item ?? null;
  }

  // Which acquisition the record is of, however often that was renewed; null: there is no record.
  async tenure(key) {
    return (await this.record(key))?.nonce.S.split('.')[0] ?? null;
  }

  async remove(key) {
    await this.raw('DeleteItem', this.id(key));
  }

  // As if another had taken over.
  async replace(key) {
    const item = await this.record(key);
    item.version = { N: String(BigInt(item.version.N) + 1000n) };
    await this.raw('PutItem', { TableName: this.table, Item: item });
    return item;
  }

  // ---- The proxy

  async fault(key, action, { op, times = -1 } = {}) {
    await this.control.ask({ cmd: 'fault', proxy: this.proxy.proxy, match: { key, ...(op && { op }) }, times, action });
  }

  // Until so many requests about the key have come so far; see rig/main.mjs. Others may ask meanwhile.
  async requests(key, { op = null, state = 'arrived', count = 1 } = {}) {
    const own = await connectRig(Number(process.env.DYNALOCK_TEST_RIG));
    try {
      await own.ask({ cmd: 'wait', proxy: this.proxy.proxy, state, op, key, count, timeout_ms: LIMIT_MS });
    } finally {
      own.close();
    }
  }

  async log(key) {
    const { log } = await this.control.ask({ cmd: 'log', proxy: this.proxy.proxy });
    return log.filter(entry => entry.key === key);
  }

  // When the last lease that a request has given the key ends, had it begun as the request came; CLOCK_MONOTONIC.
  async leaseEnd(key, ttlMs) {
    const writes = (await this.log(key)).filter(({ op, status }) => /PutItem|UpdateItem/.test(op) && status === 200);
    return Math.max(...writes.map(entry => entry.arrived_ms)) + ttlMs;
  }

  // ---- Programs

  // → { child, pid, out(), err(), until(pattern, 'out'|'err'), say(text), ended: status or signal, exited: the time }
  // input: what is there to be read; null: what say() will say.
  start(program, args, { env = {}, input = '', cwd = ROOT, stdio = [] } = {}) {
    const child = spawn(program, args, {
      cwd, env: { ...this.environment, ...env }, stdio: ['pipe', 'pipe', 'pipe', ...stdio],
    });
    const run = {
      child, pid: child.pid, waiting: new Set(), text: { out: '', err: '' }, parts: [],
      out: () => run.text.out,
      err: () => run.text.err,
      bytes: () => Buffer.concat(run.parts),
      say: text => child.stdin.write(text),
      kill: signal => process.kill(child.pid, signal),
      tell: () => `${program} ${args.join(' ')}\n${run.text.out}${run.text.err}`,
    };
    child.stdin.on('error', () => {}); // not everybody reads
    if (input !== null) child.stdin.end(input);
    const look = () => { for (const waiter of run.waiting) waiter(); };
    child.stdout.on('data', data => { run.parts.push(data); });
    for (const [name, stream] of [['out', child.stdout], ['err', child.stderr]]) {
      stream.on('data', data => { run.text[name] += data.toString(); look(); });
    }
    run.exited = once(child, 'exit').then(() => monotonicMs());
    run.ended = once(child, 'close').then(([status, signal]) => {
      run.closed = true;
      look();
      return signal ?? status;
    });
    run.until = (pattern, name = 'out', from = 0) => new Promise((done, fail) => {
      const settle = (how, value) => { clearTimeout(timer); run.waiting.delete(check); how(value); };
      const check = () => {
        const match = pattern.exec(run.text[name].slice(from));
        if (match) settle(done, match);
        else if (run.closed) settle(fail, new Error(`ended without ${pattern}: ${run.tell()}`));
      };
      const timer = setTimeout(() => settle(fail, new Error(`never ${pattern}: ${run.tell()}`)), LIMIT_MS);
      run.waiting.add(check);
      check();
    });
    return run;
  }

  // dynalock run KEY OPTION... -- COMMAND...; a command of one string is sh's.
  run(key, options, command, settings = {}) {
    const argv = typeof command === 'string' ? ['sh', '-c', command] : command;
    return this.start(this.program, ['run', key, ...options, '--', ...argv], settings);
  }

  shell(script, settings) {
    return this.start('sh', ['-c', script], settings);
  }

  // Ends with that status. → the run
  async ends(status, run, limitMs = LIMIT_MS) {
    const timer = setTimeout(() => run.child.kill('SIGKILL'), limitMs);
    const ended = await run.ended;
    clearTimeout(timer);
    assert.equal(ended, status, run.tell());
    return run;
  }

  // Holds the lock until its standard input ends, and is there when this returns.
  async hold(key, options = []) {
    const run = this.run(key, options, 'echo holding; cat', { input: null });
    await run.until(/holding/);
    run.letGo = () => { run.child.stdin.end(); return this.ends(0, run); };
    return run;
  }

  // A FIFO for processes to hold open for writing, who first write a line to it. → { path, begun: that line,
  // ended: when nobody held it any more }
  lifeline() {
    this.watch ??= this.watcher();
    const id = this.lines.length;
    const path = this.file(`line-${id}`);
    execFileSync('mkfifo', [path]);
    const line = { path };
    line.begun = new Promise(done => { line.begin = done; });
    line.ended = new Promise(done => { line.end = done; });
    this.lines.push(line);
    this.watch.postMessage({ id, path });
    return line;
  }

  watcher() {
    const worker = new Worker(new URL('./command_lifeline.mjs', import.meta.url), { trackUnmanagedFds: false });
    worker.on('message', ({ id, text, ended }) => {
      if (text !== undefined) this.lines[id].begin(text);
      if (ended !== undefined) this.lines[id].end(ended);
    });
    worker.unref();
    return worker;
  }
}

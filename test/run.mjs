// SPDX-License-Identifier: Apache-2.0
// Runs what `make check` lists in a file, one run a line: kind|variant|what|argument. The last line printed is
// "N passed, N failed". Nothing but Node is needed. Kinds:
//   unit      a cmocka program that needs nothing
//   rig       a cmocka program that needs the rig; run on each server
//   local, dynalite  the same, on that server only
//   node      a file for node:test, with the rig; on the servers it names in a line `// servers: local dynalite`,
//             else on dynalite
//   gate      a script, one result
//   raised    a header: whether all these tests together have seen each of its codes; see raised.mjs
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Raised } from './raised.mjs';

const ROOT = resolve(fileURLToPath(import.meta.url), '../..');
const SERVERS = ['local', 'dynalite'];
const CORES = availableParallelism();
const JOBS = Number(process.env.TEST_JOBS) || 4 * CORES; // most tests wait, most of the time
const GATE_JOBS = Math.max(1, CORES - 1);
const TEST_LIMIT_MS = Number(process.env.TEST_LIMIT_MS) || 120_000;
const GATE_LIMIT_MS = 400_000;
const RIG_LIMIT_MS = 60_000;
const OUTPUT_LIMIT = 1 << 20;
// What no test may print, in what it says itself, in the library's events and errors, or in a crash: the rig's keys
// (rig.h, support_client.h), and what sources of credentials hand out, which all begin with HUSH.
const SECRETS = ['wJalrXUtnFEMI/K7MDENG', 'EXAMPLETOKENthatNobodyMaySee', 'HUSH'];
const ASIDE = '~ '; // begins lines that are searched and not kept: support.c tells all events and errors
const raised = new Raised();
const started = new Set(); // children, each the leader of its process group

// ---- A network of our own -----------------------------------------------------------------------

// Tests that reach out by mistake shall fail. → how to call a program in a network that has lo alone, or null.
function isolation() {
  for (const flags of ['-n', '-rn']) {
    if (spawnSync('unshare', [flags, 'ip', 'link', 'set', 'lo', 'up']).status === 0) return ['unshare', flags];
  }
  return null;
}

async function rerunIsolated() {
  const [program, ...flags] = isolation() ?? [];
  if (!program) return null;
  const script = 'ip link set lo up && exec "$@"';
  const child = spawn(program, [...flags, 'sh', '-c', script, 'sh', process.execPath, ...process.argv.slice(1)], {
    stdio: 'inherit', env: { ...process.env, DYNALOCK_TEST_ISOLATED: '1' },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  const [status] = await once(child, 'exit');
  return status ?? 1;
}

// ---- Processes ----------------------------------------------------------------------------------

function killGroup(child, signal = 'SIGKILL') {
  try { process.kill(-child.pid, signal); } catch { /* all of it has ended */ }
}

function killAll() {
  for (const child of started) killGroup(child);
}

function environment(home) {
  const env = { ...process.env, HOME: home, TMPDIR: home };
  const foreign = /^(AWS_|CURL_|DYNALOCK_TEST_|SSL_CERT|SSLKEYLOGFILE$|MAKE|MFLAGS$)|_proxy$/i;
  for (const name of Object.keys(env)) {
    if (foreign.test(name)) delete env[name];
  }
  const suppressions = tool => {
    const file = join(ROOT, `test/${tool}.supp`);
    return existsSync(file) ? `:suppressions=${file}` : '';
  };
  // Where memory is refused, malloc answers NULL, as it does without a sanitizer. The thread sanitizer sees no mutex of
  // libraries that were not built with it, and would call races what they guard; and tests fork.
  return {
    ...env,
    MAKE: process.env.MAKE || 'make',
    CMOCKA_MESSAGE_OUTPUT: 'TAP',
    DYNALOCK_TEST_TELL: '1',
    ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
    LSAN_OPTIONS: `print_suppressions=0${suppressions('lsan')}`,
    TSAN_OPTIONS: `die_after_fork=0:second_deadlock_stack=1:ignore_noninstrumented_modules=1${suppressions('tsan')}`,
  };
}

// The sanitizers' shadow memory does not fit every layout of the address space.
const SETARCH = spawnSync('setarch', ['-R', 'true']).status === 0 ? ['setarch', '-R'] : [];

// Variants for another processor.
const EMULATORS = { arm64: ['qemu-aarch64', '-L', 'test/sysroots/arm64'] };

function command(run) {
  if (run.kind === 'gate') return ['nice', '-n', '15', 'sh', run.what, ...(run.argument === '-' ? [] : [run.argument])];
  if (run.kind === 'node') return [process.execPath, '--test-reporter=tap', run.what];
  return [...SETARCH, ...(EMULATORS[run.variant] ?? []), resolve(ROOT, run.what)];
}

// Keeps what a stream says, in result.output, a line at a time; and the secrets in it, in result.secrets.
function listen(stream, result) {
  let rest = '';
  const take = line => {
    if (SECRETS.some(secret => line.includes(secret))) result.secrets.push(line.trimEnd());
    else if (line.startsWith(ASIDE)) raised.take(line);
    else if (result.output.length < OUTPUT_LIMIT) result.output += line;
  };
  stream.setEncoding('utf8').on('data', data => {
    const lines = (rest + data).split(/(?<=\n)/);
    rest = lines.at(-1).endsWith('\n') ? '' : lines.pop();
    lines.forEach(take);
  });
  stream.on('close', () => take(rest));
}

// → { output, secrets, status, signal, overran }
async function execute(argv, env, limit) {
  const child = spawn(argv[0], argv.slice(1), { cwd: ROOT, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  started.add(child);
  const result = { output: '', secrets: [], status: null, signal: null, overran: false };
  listen(child.stdout, result);
  listen(child.stderr, result);
  const timer = setTimeout(() => { result.overran = true; killGroup(child); }, limit);
  const closed = once(child, 'close').catch(() => {}); // an error of spawn is told by the exit below
  try {
    [result.status, result.signal] = await once(child, 'exit');
    killGroup(child); // what it left behind; it would also keep the pipes open
    const grace = setTimeout(() => { child.stdout.destroy(); child.stderr.destroy(); }, 2000);
    await closed;
    clearTimeout(grace);
  } catch (error) {
    result.output += `cannot be started: ${error.message}\n`;
  }
  clearTimeout(timer);
  started.delete(child);
  return result;
}

// ---- Results ------------------------------------------------------------------------------------

// TAP of cmocka and of node:test. → { planned, passed, failed, skipped }
export function parseTap(text) {
  const counts = { planned: 0, passed: 0, failed: 0, skipped: 0 };
  const lines = text.split('\n');
  lines.forEach((line, index) => {
    const plan = /^1\.\.(\d+)\s*$/.exec(line);
    if (plan) counts.planned += Number(plan[1]);
    const result = /^\s*(not )?ok \d+(.*)$/.exec(line);
    if (!result || isSuite(lines, index)) return;
    const skipped = /#\s*(SKIP|TODO)\b/i.test(result[2]);
    if (skipped) counts.skipped++;
    if (result[1] || skipped) counts.failed++;
    else counts.passed++;
  });
  return counts;
}

// Whether node:test says of the result at index that it is that of a `describe`, whose members count on their own.
function isSuite(lines, index) {
  for (let next = index + 1; next < lines.length && /^\s+(---|[a-z_]+:|\.\.\.)/.test(lines[next]); next++) {
    if (/^\s+type: 'suite'/.test(lines[next])) return true;
    if (/^\s+\.\.\./.test(lines[next])) break;
  }
  return false;
}

// Fills run.passed, run.failed and run.problems from how it ended.
function judge(run, result) {
  run.output = result.output;
  if (result.secrets.length && run.kind !== 'gate') {
    run.problems.push('a secret was printed, in the lines at the end');
    run.output += `\n${result.secrets.slice(0, 20).join('\n')}`;
  }
  if (result.overran) run.problems.push(`did not end within ${run.limit / 1000} s`);
  else if (result.signal) run.problems.push(`killed by ${result.signal}`);
  if (run.kind === 'gate') {
    run.passed = result.status === 0 && !run.problems.length ? 1 : 0;
    run.failed = 1 - run.passed;
    return;
  }
  const tap = parseTap(result.output);
  const missing = Math.max(0, tap.planned - tap.passed - tap.failed);
  run.passed = tap.passed;
  run.failed = tap.failed;
  if (tap.skipped) run.problems.push(`${tap.skipped} skipped`);
  if (!tap.planned) run.problems.push('no plan in its output');
  else if (!tap.passed && !tap.failed) run.problems.push('ran no test');
  if (missing && run.kind !== 'node') {
    run.problems.push(`${missing} planned, but not run`);
    run.failed += missing;
  }
  if (result.status && !run.failed) run.problems.push(`exit status ${result.status}`);
  if (run.problems.length && !run.failed) run.failed = 1;
}

async function perform(run, context) {
  const began = Date.now();
  const needsRig = run.server !== '-';
  if (!existsSync(join(ROOT, run.what))) {
    run.problems.push('was not built; see build/log');
    run.failed = 1;
  } else if (needsRig && !context.rig) {
    run.problems.push('the rig did not start');
    run.failed = 1;
  } else {
    const env = { ...context.env };
    if (run.kind !== 'gate' && run.kind !== 'node') env.LOCPATH = join(ROOT, 'build/locale');
    if (needsRig) {
      env.DYNALOCK_TEST_RIG = String(context.rig.control);
      env.DYNALOCK_TEST_SERVER = run.server;
    }
    if (run.kind === 'node' && run.variant !== '-') env.DYNALOCK_TEST_VARIANT = run.variant;
    if (context.signer) env.DYNALOCK_SIGNER_TOOL = context.signer;
    judge(run, await execute(command(run), env, run.limit));
  }
  run.seconds = (Date.now() - began) / 1000;
  if (run.failed) console.log(`FAILED: ${title(run)}`);
}

function judgeRaised(run) {
  const missing = raised.missing(join(ROOT, run.what));
  run.passed = missing.length ? 0 : 1;
  run.failed = 1 - run.passed;
  run.output = missing.map(name => `No test has seen ${name}\n`).join('');
}

const title = run => [run.name, run.variant, run.server].filter(part => part !== '-').join(' ');

// ---- The rig ------------------------------------------------------------------------------------

async function startRig(env) {
  const child = spawn(process.execPath, ['test/rig/main.mjs'], {
    cwd: ROOT, env, detached: true, stdio: ['pipe', 'pipe', 'pipe'],
  });
  const complaints = { output: '', secrets: [] };
  started.add(child);
  listen(child.stderr, complaints);
  child.on('error', () => {});
  child.stdin.on('error', () => {});
  const lines = createInterface({ input: child.stdout });
  const timer = setTimeout(() => killGroup(child), RIG_LIMIT_MS);
  const [line] = await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => [])]).catch(() => []);
  clearTimeout(timer);
  lines.on('line', text => console.log(`rig: ${text}`));
  if (line === undefined) {
    process.stdout.write(complaints.output);
    return null;
  }
  try {
    return { ...JSON.parse(line), child, complaints };
  } catch {
    console.log(`rig: ${line}`);
    return null;
  }
}

// → how often it has told a secret.
async function stopRig(rig) {
  if (!rig) return 0;
  const ended = rig.child.exitCode !== null || rig.child.signalCode !== null;
  if (ended) console.log('The rig ended before the tests did');
  rig.child.stdin.end();
  if (!ended) await Promise.race([once(rig.child, 'close'), new Promise(done => setTimeout(done, 5000).unref())]);
  const { output, secrets } = rig.complaints;
  process.stdout.write(output);
  if (secrets.length) console.log(`FAILED: the rig told a secret: ${secrets[0]}`);
  return secrets.length;
}

// ---- All of it ----------------------------------------------------------------------------------

function serversOf(kind, what) {
  if (kind === 'rig') return SERVERS;
  if (SERVERS.includes(kind)) return [kind];
  if (kind !== 'node') return ['-'];
  const named = /^\/\/ servers: *(.*)$/m.exec(readFileSync(join(ROOT, what), 'utf8'));
  return named ? named[1].trim().split(/\s+/) : ['dynalite'];
}

function readRuns(file) {
  const runs = [];
  for (const line of readFileSync(file, 'utf8').split('\n').filter(Boolean)) {
    const [kind, variant, what, argument] = line.split('|');
    const limit = kind === 'gate' ? GATE_LIMIT_MS : TEST_LIMIT_MS;
    const base = basename(what).replace(/\.test\.mjs$|\.sh$/, '');
    const name = argument && argument !== '-' ? `${base} ${argument}` : base;
    for (const server of serversOf(kind, what)) {
      const run = { kind, variant, what, argument, server, limit, name };
      runs.push({ ...run, passed: 0, failed: 0, seconds: 0, output: '', problems: [] });
    }
  }
  return runs;
}

async function inParallel(runs, jobs, context) {
  const queue = [...runs];
  const worker = async () => { while (queue.length) await perform(queue.shift(), context); };
  await Promise.all(Array.from({ length: jobs }, worker));
}

function report(runs, told) {
  for (const run of runs.filter(one => one.failed)) {
    console.log(`\n==== ${title(run)}: ${run.problems.join('; ') || `${run.failed} failed`} ====`);
    console.log(run.output.trimEnd());
  }
  const columns = ['name', 'variant', 'server', 'passed', 'failed', 'seconds'];
  const rows = [columns.map(column => (column === 'name' ? 'suite' : column)),
    ...runs.map(run => columns.map(column => (column === 'seconds' ? run.seconds.toFixed(1) : String(run[column]))))];
  const widths = columns.map((_, index) => Math.max(...rows.map(row => row[index].length)));
  console.log();
  for (const row of rows) {
    const cells = row.map((cell, index) => cell[index < 3 ? 'padEnd' : 'padStart'](widths[index]));
    console.log(cells.join('  '));
  }
  const sum = column => runs.reduce((total, run) => total + run[column], 0);
  if (!runs.length) console.log('\nThere was nothing to run');
  const failed = runs.length ? sum('failed') + told : 1;
  console.log(`\n${sum('passed')} passed, ${failed} failed`);
  return failed ? 1 : 0;
}

async function main() {
  const runs = readRuns(process.argv[2]);
  const home = mkdtempSync(join(tmpdir(), 'dynalock-test-'));
  process.on('exit', () => { killAll(); rmSync(home, { recursive: true, force: true }); });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));
  const context = { env: environment(home), rig: null, signer: null };
  const signer = join(ROOT, 'build/release/test/signer_tool');
  if (existsSync(signer)) context.signer = signer;
  if (runs.some(run => run.server !== '-')) context.rig = await startRig(context.env);
  const gates = runs.filter(run => run.kind === 'gate');
  // What waits longest begins first: failures that are waited out, then what asks servers.
  const units = runs.filter(run => run.kind === 'unit');
  const first = units.filter(run => run.variant === 'fail');
  const tests = [...first, ...runs.filter(run => run.server !== '-'), ...units.filter(run => run.variant !== 'fail')];
  await Promise.all([inParallel(tests, JOBS, context), inParallel(gates, GATE_JOBS, context)]);
  runs.filter(run => run.kind === 'raised').forEach(judgeRaised);
  return report(runs, await stopRig(context.rig));
}

if (process.env.DYNALOCK_TEST_ISOLATED) {
  process.exitCode = await main();
} else {
  const status = await rerunIsolated();
  if (status === null) {
    console.log('No network namespace can be made here: the tests run in the network of this machine');
    process.exitCode = await main();
  } else {
    process.exitCode = status;
  }
}

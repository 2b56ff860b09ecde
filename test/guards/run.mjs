// SPDX-License-Identifier: Apache-2.0
// Takes each guard out of the library in turn, and shows which tests notice. A guard is a file NAME.patch here: a line
// that says what the guard is for, a line "tests: PROGRAM..." of those that are to notice, and the patch that takes it
// out. First the programs run without any patch: they must pass. Then one line a guard: its name, how many tests
// failed, the seconds until the first did, and which that was. A guard that nobody misses is a failure. The last line
// is "N passed, N failed".
//
//   node test/guards/run.mjs        ONLY=part,part   guards with one of these in their names
//                                   TESTS="a b"      these programs, whatever the patches name
//                                   SOAK=1           the soak, for half a minute, instead of the tests
//                                   JOBS=n           programs that run at a time
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { startRig } from '../rig/client.mjs';

const HERE = import.meta.dirname;
const ROOT = resolve(HERE, '../..');
const SERVERS = ['local', 'dynalite'];
const TREE = ['Makefile', 'CHANGELOG.md', 'dynalock.map', 'pkg-config', 'tools'];
const LIMIT_MS = 120_000;
const SOAK_LIMIT_MS = 240_000;
const OUTPUT_LIMIT = 1 << 20;
const JOBS = Number(process.env.JOBS) || 3 * availableParallelism(); // most tests wait, most of the time
const AT_A_TIME = 3; // guards
const only = (process.env.ONLY ?? '').split(/[\s,]+/).filter(Boolean);
const soak = Boolean(process.env.SOAK);
const started = new Set();

// ---- Processes ----------------------------------------------------------------------------------

function killGroup(child) {
  try { process.kill(-child.pid, 'SIGKILL'); } catch { /* all of it has ended */ }
}

// → { output, failure: how it ended badly or "", overran }; each line goes to onLine as it comes.
async function execute(argv, options, limit, onLine = () => {}) {
  const child = spawn(argv[0], argv.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], ...options, detached: true });
  started.add(child);
  let output = '';
  let rest = '';
  let overran = false;
  child.stderr.setEncoding('utf8').on('data', text => { if (output.length < OUTPUT_LIMIT) output += text; });
  child.stdout.setEncoding('utf8').on('data', text => {
    if (output.length < OUTPUT_LIMIT) output += text;
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    lines.forEach(onLine);
  });
  const timer = setTimeout(() => { overran = true; killGroup(child); }, limit);
  const [status, signal] = await once(child, 'exit').catch(error => [error.message, null]);
  clearTimeout(timer);
  killGroup(child);
  started.delete(child);
  const failure = overran ? `did not end within ${limit / 1000} s`
    : signal ? `was killed by ${signal}` : status ? `exit status ${status}` : '';
  return { output, failure, overran };
}

function limiter(most) {
  let running = 0;
  const waiting = [];
  return async work => {
    if (running >= most) await new Promise(go => waiting.push(go));
    else running++;
    try {
      return await work();
    } finally {
      if (waiting.length) waiting.shift()();
      else running--;
    }
  };
}

const oneBuild = limiter(1);
const oneRun = limiter(soak ? 1 : JOBS);

function environment(home) {
  const env = { ...process.env, HOME: home, TMPDIR: home, CMOCKA_MESSAGE_OUTPUT: 'TAP' };
  for (const name of Object.keys(env)) {
    if (/^(AWS_|CURL_|DYNALOCK_TEST_|SSL_CERT|MAKE|MFLAGS$)|_proxy$/i.test(name)) delete env[name];
  }
  return env;
}

// ---- Trees --------------------------------------------------------------------------------------

// What make would build anew is left out: of a patched tree no program, only objects.
function copyTree(from, to, objectsOnly) {
  mkdirSync(to);
  const copy = (name, filter) => {
    if (existsSync(join(from, name))) {
      cpSync(join(from, name), join(to, name), { recursive: true, preserveTimestamps: true, filter });
    }
  };
  for (const name of readdirSync(from).filter(file => /\.[ch]$/.test(file))) copy(name);
  TREE.forEach(name => copy(name));
  copy('test', path => !/\/(node_modules|servers|sysroots)$/.test(path));
  for (const name of ['node_modules', 'servers']) symlinkSync(join(ROOT, 'test', name), join(to, 'test', name));
  const wanted = path => /(\/build|\/release|\/test|\/flags|\.o|\.d|libsupport\.a)$/.test(path)
    || (!objectsOnly && !path.includes('.so'));
  mkdirSync(join(to, 'build'));
  copy('build/release', wanted);
}

async function build(tree, programs, env) {
  const targets = programs.map(program => `build/release/test/${program}`);
  if (soak) targets.push('build/release/soak/contender', 'build/asan/soak/contender', 'build/tsan/soak/contender');
  return oneBuild(() => execute([process.env.MAKE ?? 'make', '-s', '-j2', ...targets], { cwd: tree, env }, 600_000));
}

// ---- Guards -------------------------------------------------------------------------------------

function readGuards() {
  return readdirSync(HERE).filter(file => file.endsWith('.patch')).sort().map(file => {
    const named = /^tests: *(.*)$/m.exec(readFileSync(join(HERE, file), 'utf8'));
    const programs = (process.env.TESTS ?? named[1]).trim().split(/\s+/);
    return { name: basename(file, '.patch'), programs: soak ? [] : programs };
  }).filter(guard => !only.length || only.some(part => guard.name.includes(part)));
}

// Runs programs on both servers; → [{ what, seconds }] of the tests that failed, first things first.
async function runPrograms(tree, programs, context) {
  const failures = [];
  const run = (program, server) => oneRun(async () => {
    const began = Date.now();
    let planned = 0;
    let seen = 0;
    const title = server === '-' ? program : `${program} ${server}`;
    const fail = what => failures.push({ what: `${title}: ${what}`, seconds: (Date.now() - began) / 1000 });
    const env = { ...context.env };
    if (server !== '-') {
      env.DYNALOCK_TEST_RIG = String(context.rig.ports.control);
      env.DYNALOCK_TEST_SERVER = server;
    }
    const path = join(tree, 'build/release/test', program);
    const ended = await execute([path], { cwd: tree, env }, LIMIT_MS, line => {
      planned += Number(/^1\.\.(\d+)/.exec(line)?.[1] ?? 0);
      const result = /^(not )?ok \d+ - (\S*)/.exec(line);
      seen += result ? 1 : 0;
      if (result?.[1]) fail(result[2]);
    });
    if (seen < planned || !planned) fail(`${ended.failure || 'ended early'}, after ${seen} of ${planned} tests`);
  });
  const serversOf = program => (program.startsWith('unit_') ? ['-'] : SERVERS);
  await Promise.all(programs.flatMap(program => serversOf(program).map(server => run(program, server))));
  return failures.sort((a, b) => a.seconds - b.seconds);
}

async function runSoak(tree, context) {
  const began = Date.now();
  const argv = [process.execPath, 'test/soak/main.mjs', '--minutes', '0.5', '--rig', String(context.rig.ports.control)];
  const ended = await oneRun(() => execute(argv, { cwd: tree, env: context.env }, SOAK_LIMIT_MS));
  const lines = ended.output.trim().split('\n').filter(line => !line.startsWith('the logs are in'));
  return ended.failure ? [{ what: `the soak: ${lines.at(-1)}`, seconds: (Date.now() - began) / 1000 }] : [];
}

// → the failures, or null where it cannot be told.
async function judge(guard, base, context) {
  const tree = join(context.home, guard.name);
  copyTree(base, tree, true);
  const patch = join(base, 'test/guards', `${guard.name}.patch`);
  const steps = [
    () => execute(['patch', '-s', '-p1', '-i', patch], { cwd: tree }, LIMIT_MS),
    () => build(tree, guard.programs, context.env),
  ];
  for (const step of steps) {
    const ended = await step();
    if (ended.failure) {
      console.log(`${guard.name}: ${ended.failure}\n${ended.output.trimEnd()}`);
      return null;
    }
  }
  const failures = await (soak ? runSoak(tree, context) : runPrograms(tree, guard.programs, context));
  rmSync(tree, { recursive: true, force: true });
  return failures;
}

function print(guard, failures, width) {
  const [first] = failures;
  const found = first ? `${first.seconds.toFixed(1).padStart(6)} s  ${first.what}` : '          NOBODY MISSES IT';
  console.log(`${guard.name.padEnd(width)} ${String(failures.length).padStart(4)} ${found}`);
  if (process.env.VERBOSE) failures.forEach(one => console.log(`    ${one.seconds.toFixed(1)} s  ${one.what}`));
}

async function main() {
  const guards = readGuards();
  const home = mkdtempSync(join(tmpdir(), 'dynalock-guards-'));
  process.on('exit', () => { started.forEach(killGroup); rmSync(home, { recursive: true, force: true }); });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));
  const context = { home, env: environment(home), rig: await startRig() };
  const base = join(home, 'base');
  const programs = [...new Set(guards.flatMap(guard => guard.programs))].sort();
  copyTree(ROOT, base, false);
  const built = await build(base, programs, context.env);
  const tried = names => (soak ? runSoak(base, context) : runPrograms(base, names, context));
  let broken = built.failure ? [{ what: `${built.failure}\n${built.output}`, seconds: 0 }] : await tried(programs);
  if (broken.length && !built.failure) { // a machine under load: once more
    broken = await tried(programs.filter(program => broken.some(one => one.what.split(/[ :]/)[0] === program)));
  }
  broken.forEach(one => console.log(`without any patch: ${one.what}`));
  const width = Math.max(...guards.map(guard => guard.name.length));
  const queue = broken.length ? [] : [...guards];
  let missed = 0;
  const worker = async () => {
    while (queue.length) {
      const guard = queue.shift();
      const failures = await judge(guard, base, context);
      if (failures) print(guard, failures, width);
      missed += failures?.length ? 1 : 0;
    }
  };
  await Promise.all(Array.from({ length: soak ? 1 : AT_A_TIME }, worker));
  await context.rig.stop();
  console.log(`${missed} passed, ${guards.length - missed || (guards.length ? 0 : 1)} failed`);
  return guards.length && missed === guards.length ? 0 : 1;
}

process.exitCode = await main();

// SPDX-License-Identifier: Apache-2.0
// The two servers behind the proxies: DynamoDB Local (java) and dynalite (node), each in a process of its own.
import { spawn, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const HOST = '127.0.0.1';
const LOCAL_DIR = fileURLToPath(new URL('../servers/dynamodb-local/', import.meta.url));
const DYNALITE = fileURLToPath(new URL('./dynalite.mjs', import.meta.url));
const START_MS = 60_000;

async function freePort() {
  const server = net.createServer().listen(0, HOST);
  await new Promise((done, fail) => server.once('listening', done).once('error', fail));
  const { port } = server.address();
  await new Promise(done => server.close(done));
  return port;
}

function answers(port) {
  return new Promise(done => {
    const request = http.get({ host: HOST, port, path: '/', agent: false }, response => {
      response.resume();
      done(true);
    });
    request.on('error', () => done(false));
  });
}

// The java process must not outlive this one, however it ends: the kernel sees to that where setpriv is there.
function javaCommand(port) {
  const java = [
    'java',
    '-Xms64m',
    '-Xmx512m',
    '-XX:+UseSerialGC',
    '-Djava.library.path=./DynamoDBLocal_lib',
    '-jar',
    'DynamoDBLocal.jar',
    '-inMemory',
    '-sharedDb',
    '-disableTelemetry',
    '-port',
    String(port),
  ];
  return existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL', ...java] : java;
}

async function startLocal() {
  if (!existsSync(`${LOCAL_DIR}DynamoDBLocal.jar`))
    throw new Error('DynamoDB Local is missing: run tools/deps');
  const port = await freePort();
  const [command, ...args] = javaCommand(port);
  const child = spawn(command, args, { cwd: LOCAL_DIR, stdio: ['ignore', 'pipe', 'pipe'] });
  const server = watched('DynamoDB Local', child, port);
  const deadline = Date.now() + START_MS;
  while (!(await answers(port))) {
    if (server.ended) throw new Error(`DynamoDB Local ended while starting: ${server.output}`);
    if (Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error('DynamoDB Local did not answer in time');
    }
    await sleep(50);
  }
  return server;
}

async function startDynalite() {
  const child = fork(DYNALITE, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  const server = watched('dynalite', child, 0);
  server.port = await new Promise((done, fail) => {
    child.once('message', message => done(message.port));
    child.once('exit', () => fail(new Error(`dynalite ended while starting: ${server.output}`)));
  });
  return server;
}

function watched(name, child, port) {
  const server = { name, child, port, output: '', ended: false };
  const keep = text => {
    server.output = (server.output + text).slice(-4000);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  child.on('error', error => {
    server.ended = true;
    keep(error.message);
  });
  child.on('exit', () => {
    server.ended = true;
  });
  return server;
}

async function stop(server) {
  if (server.ended) return;
  const exited = new Promise(done => server.child.once('exit', done));
  server.child.kill('SIGKILL');
  await exited;
}

const STARTERS = { local: startLocal, dynalite: startDynalite };

// → { local?: server, dynalite?: server, stop() }; a server that ends by itself is told to `onLoss`.
export async function startServers(names, onLoss) {
  const unknown = names.filter(name => !STARTERS[name]);
  if (unknown.length) throw new Error(`no such server: ${unknown}`);
  const settled = await Promise.allSettled(names.map(name => STARTERS[name]()));
  const running = settled.filter(one => one.status === 'fulfilled').map(one => one.value);
  const failed = settled.find(one => one.status === 'rejected');
  if (failed) {
    await Promise.all(running.map(stop));
    throw failed.reason;
  }
  let stopping = false;
  const lost = server => {
    if (!stopping) onLoss(`${server.name} ended: ${server.output}`);
  };
  for (const server of running) {
    if (server.ended) lost(server);
    else server.child.once('exit', () => lost(server));
  }
  return {
    ...Object.fromEntries(names.map((name, i) => [name, running[i]])),
    stop() {
      stopping = true;
      return Promise.all(running.map(stop));
    },
  };
}

// SPDX-License-Identifier: Apache-2.0
// For scripts and tests in JavaScript: starts a rig, and speaks its control protocol.
import { spawn } from 'node:child_process';
import net from 'node:net';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('./main.mjs', import.meta.url));

// → { ports: {control, local, dynalite}, child, stop() }; the child ends when stop() closes its standard input.
export async function startRig(servers = 'local,dynalite') {
  const child = spawn(process.execPath, [MAIN, '--servers', servers], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = new Promise(done => child.once('exit', code => done(code)));
  const line = await new Promise((done, fail) => {
    readline.createInterface({ input: child.stdout }).once('line', done);
    exited.then(code => fail(new Error(`the rig ended with ${code} while starting`)));
  });
  return {
    ports: JSON.parse(line),
    child,
    exited,
    stop() {
      child.stdin.end();
      return exited;
    },
  };
}

// → { ask(message): the answer, or an error where it is not ok; close() }
export async function connectRig(port) {
  const socket = net.connect(port, '127.0.0.1');
  await new Promise((done, fail) => socket.once('connect', done).once('error', fail));
  socket.setNoDelay(true);
  const waiting = [];
  readline.createInterface({ input: socket }).on('line', line => waiting.shift()(JSON.parse(line)));
  return {
    async ask(message) {
      const answered = new Promise(done => waiting.push(done));
      socket.write(`${JSON.stringify(message)}\n`);
      const answer = await answered;
      if (!answer.ok) throw new Error(answer.error);
      return answer;
    },
    close() {
      socket.destroy();
    },
  };
}

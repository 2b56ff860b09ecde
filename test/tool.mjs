// SPDX-License-Identifier: Apache-2.0
// The programs that answer a test: *_tool.c, a line of JSON in, a line of JSON out.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';

// → its answers to all questions. env: as for spawn.
export async function askTool(path, questions, env = process.env) {
  const tool = spawn(path, { stdio: ['pipe', 'pipe', 'inherit'], env });
  const ended = new Promise((resolve, reject) => {
    tool.once('error', reject);
    tool.once('close', (code, signal) => resolve(signal ?? code));
  });
  tool.stdin.on('error', () => {}); // a tool that dies is told of by its exit code
  const answers = [];
  try {
    tool.stdin.end(questions.map(question => `${JSON.stringify(question)}\n`).join(''));
    for await (const line of createInterface({ input: tool.stdout })) answers.push(JSON.parse(line));
    assert.equal(await ended, 0, `${basename(path)} failed`);
  } finally {
    tool.kill();
  }
  return answers;
}

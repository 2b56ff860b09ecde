// SPDX-License-Identifier: Apache-2.0
//
// The bench in its short form: all its programs run, and the bounds hold that do not depend on the machine's speed.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { test } from 'node:test';

const ROOT = resolve(import.meta.dirname, '..');

test('what must show on any machine shows', () => {
  const done = spawnSync(process.execPath, ['bench/main.mjs'], {
    cwd: ROOT, env: { ...process.env, SHORT: '1' }, encoding: 'utf8', timeout: 240_000,
  });
  assert.equal(done.status, 0, `${done.stdout}${done.stderr}`);
  assert.equal([...done.stdout.matchAll(/^  ok /gm)].length, 6, done.stdout);
  assert.doesNotMatch(done.stdout, /MISSED/);
});

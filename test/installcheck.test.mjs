// SPDX-License-Identifier: Apache-2.0
//
// Programs built against an installed copy do their work on a server. test/gates/install.sh has the rest.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';

const ROOT = resolve(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'dynalock-installed-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const make = (...args) => execFileSync(process.env.MAKE || 'make', args, { cwd: ROOT, encoding: 'utf8' });

test('C and C++ programs, shared and static, run on a server with the installed library', () => {
  make('install', `prefix=${folder}`);
  assert.match(make('installcheck', `prefix=${folder}`), /is installed well; its programs ran on a server\n$/);
});

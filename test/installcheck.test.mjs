// SPDX-License-Identifier: Apache-2.0
//
// Programs built against an installed copy do their work on a server. test/gates/install.sh has the rest.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';

const ROOT = resolve(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'dynalock-installed-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const MAKE = process.env.MAKE || 'make';
const make = (...args) => execFileSync(MAKE, args, { cwd: ROOT, encoding: 'utf8' });
const INSTALLED_WELL = /is installed well; its programs ran on a server\n$/;
const files = path => readdirSync(path, { recursive: true, withFileTypes: true }).filter(entry => !entry.isDirectory());

test('C and C++ programs, shared and static, run on a server with the installed library', () => {
  make('install', `prefix=${folder}`);
  assert.match(make('installcheck', `prefix=${folder}`), INSTALLED_WELL);
});

// make takes $$ for one $.
test('a prefix may have blanks and most signs in its path', () => {
  const prefix = join(folder, "a  prefix, with & | ; : ' % * ~ = in it");
  make('install', `prefix=${prefix}`);
  assert.match(make('installcheck', `prefix=${prefix}`), INSTALLED_WELL);
  make('uninstall', `prefix=${prefix}`);
  assert.deepEqual(files(prefix), []);
});

test('DESTDIR may have any sign in its path', () => {
  const stage = join(folder, 'staged, with & | ; : \' % * ~ = ( ) " \\ # $ in it');
  const where = [`DESTDIR=${stage.replace('$', '$$$$')}`, 'prefix=/opt/dynalock', 'libdir=/opt/a library/lib'];
  make('install', ...where);
  assert.ok(existsSync(join(stage, 'opt/a library/lib/libdynalock.so')));
  assert.match(make('installcheck', ...where), INSTALLED_WELL);
  make('uninstall', ...where);
  assert.deepEqual(files(stage), []);
});

test('a path that dynalock.pc cannot name is refused, and nothing is installed', () => {
  for (const sign of ['"', '\\', '#', '$$', '(', ')']) {
    const prefix = join(folder, `refused${sign}`);
    const { status, stderr } = spawnSync(MAKE, ['install', `prefix=${prefix}`], { cwd: ROOT, encoding: 'utf8' });
    assert.equal(status, 2, sign);
    assert.match(stderr, /^make install: dynalock\.pc cannot name a folder with one of " \\ # \$ \( \) in its path$/m);
    assert.ok(!existsSync(prefix.replace('$$', '$')), sign);
  }
});

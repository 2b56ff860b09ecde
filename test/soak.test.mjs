// SPDX-License-Identifier: Apache-2.0
// servers: local dynalite
//
// The soak in its short form, and that its judge sees what there is to see.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { describe, test } from 'node:test';
import { judge, readLog } from './soak/history.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const SERVER = process.env.DYNALOCK_TEST_SERVER;

const judged = (texts, options = {}) =>
  judge(
    texts.map((text, index) => readLog(text.join('\n') + '\n', { who: `c${index}`, ...options })),
    { isOrdered: key => key.startsWith('keep'), bound: 100, stops: options.stops ?? [] },
  );

describe('the judge of histories', () => {
  test('finds nothing wrong with two tenures in turn', () => {
    const verdict = judged([
      ['wait keep 0', 'hold keep 10 100 5', 'more keep 60 150 5', 'end keep 70 5', 'freed keep 75 5 0'],
      ['wait keep 5', 'hold keep 70 200 6', 'end keep 80 6'],
    ]);
    assert.deepEqual([verdict.tenures, verdict.renewed], [2, 1]);
    for (const name of ['overlaps', 'disorders', 'refused', 'leftWaiting']) assert.deepEqual(verdict[name], []);
  });

  test('sees two that believe at once', () => {
    assert.equal(judged([['hold a 10 100 5', 'end a 90 5'], ['hold a 89 200 6', 'end a 95 6']]).overlaps.length, 1);
  });

  test('sees it behind a third that was in between', () => {
    const verdict = judged([['hold a 10 100 5'], ['hold a 20 30 6'], ['hold a 50 60 7']]);
    assert.equal(verdict.overlaps.length, 2);
  });

  test('takes the word of a process that has died until its deadline', () => {
    assert.equal(judged([['hold a 10 100 5'], ['hold a 99 200 6']], { killedAt: 20 }).overlaps.length, 1);
    assert.equal(judged([['hold a 10 100 5'], ['hold a 100 200 6']], { killedAt: 20 }).overlaps.length, 0);
  });

  test('takes what a renewal has granted for belief', () => {
    assert.equal(judged([['hold a 10 50 5', 'more a 40 80 5'], ['hold a 70 100 6']]).overlaps.length, 1);
  });

  test('knows that two locks may be held at once', () => {
    assert.equal(judged([['hold a 10 100 5'], ['hold b 10 100 5']]).overlaps.length, 0);
  });

  test('takes what was over before it was logged for no belief', () => {
    assert.equal(judged([['hold a 10 100 5'], ['hold a 50 40 6', 'end a 55 6']]).overlaps.length, 0);
  });

  test('sees a token that is smaller than one before, where records are kept', () => {
    const texts = key => [[`hold ${key} 10 20 6`], [`hold ${key} 30 40 5`]];
    assert.equal(judged(texts('keep')).disorders.length, 1);
    assert.equal(judged(texts('a')).disorders.length, 0);
  });

  test('sees a token that was granted twice', () => {
    assert.equal(judged([['hold keep 10 20 6'], ['hold keep 30 40 6']]).disorders.length, 1);
  });

  test('sees a holder whose write was refused', () => {
    const stale = until => [['hold keep 10 90 6', `stale keep 15 20 ${until} 6`]];
    assert.equal(judged(stale(90)).refused.length, 1);
    assert.equal(judged(stale(19)).refused.length, 0);
  });

  test('sees who is left waiting by a lock that nobody holds', () => {
    const waits = ['wait a 0', 'hold a 90 100 5', 'end a 95 5', 'wait a 100', 'none a 300 -10'];
    assert.deepEqual(judged([waits]).leftWaiting.map(({ us, from }) => [us, from]), [[200, 100]]);
    assert.equal(judged([waits, ['hold a 150 160 6'], ['hold a 220 230 7']]).leftWaiting.length, 0);
    assert.equal(judged([waits], { stops: [{ who: 'c0', from: 150, to: 160 }] }).leftWaiting.length, 0);
  });

  test('does not wait for the dead', () => {
    assert.equal(judged([['wait a 0']], { killedAt: 90 }).leftWaiting.length, 0);
    assert.equal(judged([['wait a 0']], { killedAt: 190 }).leftWaiting.length, 1);
  });

  test('refuses a log that it does not understand', () => {
    assert.throws(() => judged([['help a 1']]), /not a line/);
  });
});

test('nobody shares a lock in half a minute of faults, stops and kills', { timeout: 110_000 }, () => {
  const options = ['--minutes', '0.5', '--server', SERVER, '--rig', process.env.DYNALOCK_TEST_RIG, '--tenures', '50'];
  const run = spawnSync(process.execPath, ['test/soak/main.mjs', ...options], { cwd: ROOT, encoding: 'utf8' });
  assert.equal(run.status, 0, `${run.stdout}${run.stderr}`);
  process.stdout.write(run.stdout.replace(/^/gm, '# '));
});

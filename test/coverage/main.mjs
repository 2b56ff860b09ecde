// SPDX-License-Identifier: Apache-2.0
// What the programs of `make coverage` ran of the library and of the command: lines and branches, by file; what of the
// library they did not run is listed in build/coverage/not-run.txt. Fails where it is more than allowed.
//
//   node test/coverage/main.mjs PERCENT     of the library's lines that are to be run
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');
const BUILD = 'build/coverage';
const LIST = `${BUILD}/not-run.txt`;
const least = Number(process.argv[2]);

// → [{ name, text: its lines, lines: Map(number → how often), branches: [how often, ...] }] of a folder's C files
function measure(folder) {
  const sources = readdirSync(join(ROOT, folder)).filter(name => name.endsWith('.c')).sort();
  return sources.map(name => {
    const path = join(folder, name);
    const file = { name: path, text: readFileSync(join(ROOT, path), 'utf8').split('\n'), lines: new Map(), branches: [] };
    const counts = join(BUILD, folder, name.replace(/c$/, 'gcda'));
    const notes = counts.replace(/gcda$/, 'gcno');
    const gcov = spawnSync('gcov', ['-b', '--json-format', '--stdout', existsSync(join(ROOT, counts)) ? counts : notes], {
      cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 28,
    });
    if (gcov.status !== 0) throw new Error(`gcov ${counts}: ${gcov.error?.message ?? gcov.stderr}`);
    for (const { file: source, lines } of JSON.parse(gcov.stdout).files.filter(one => one.file === path)) {
      for (const { line_number: number, count, branches } of lines) {
        file.lines.set(number, (file.lines.get(number) ?? 0) + count);
        file.branches.push(...branches.map(branch => branch.count));
      }
    }
    return file;
  });
}

const counts = file => {
  const lines = [...file.lines.values()];
  return [lines.filter(Boolean).length, lines.length, file.branches.filter(Boolean).length, file.branches.length];
};
const sum = files => files.map(counts).reduce((total, one) => total.map((n, i) => n + one[i]), [0, 0, 0, 0]);
const percent = (part, whole) => (whole ? (100 * part) / whole : 100);

function row(name, [lines, allLines, branches, allBranches]) {
  const cell = (part, whole) => `${String(part).padStart(6)} of ${String(whole).padStart(5)} ${percent(part, whole).toFixed(1).padStart(6)} %`;
  return `${name.padEnd(24)} ${cell(lines, allLines)}   ${cell(branches, allBranches)}`;
}

function notRun(file) {
  return [...file.lines].filter(([, count]) => count === 0).map(([number]) => number).sort((a, b) => a - b)
    .map(number => `${file.name}:${number}: ${file.text[number - 1].trim()}`);
}

const library = measure('.');
const command = measure('command');
const untouched = [...library, ...command].filter(file => !file.lines.size).map(file => file.name);
console.log(`\n${''.padEnd(24)} ${'lines run'.padStart(24)}   ${'branches taken'.padStart(24)}`);
for (const file of [...library, ...command]) console.log(row(file.name, counts(file)));
console.log(row('the command', sum(command)));
console.log(row('the library', sum(library)));
const list = [...library, ...command].flatMap(notRun);
writeFileSync(join(ROOT, LIST), list.map(line => `${line}\n`).join(''));
console.log(`\nThe ${list.length} lines that nothing ran are in ${LIST}`);

const low = library.filter(file => percent(...counts(file)) < least).map(file => file.name);
if (low.length) console.log(`Below ${least} % of their lines: ${low.join(', ')}`);
if (untouched.length) console.log(`Nothing is known of: ${untouched.join(', ')}`);
const enough = percent(...sum(library)) >= least && !untouched.length;
console.log(`The library has ${enough ? 'at least' : 'LESS THAN'} ${least} % of its lines run`);
process.exitCode = enough ? 0 : 1;

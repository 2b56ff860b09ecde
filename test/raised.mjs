// SPDX-License-Identifier: Apache-2.0
// Whether the tests have seen every code, every log event and every cause of a loss that dynalock.h has. support.c tells,
// on lines "~ code -4: ..." and "~ event 9, cause 3: ...", each code that a test demanded and got, and each event.
import { readFileSync } from 'node:fs';

const KINDS = {
  code: /\b(DYNALOCK_ERR_\w+) =\s*(-\d+)/g,
  event: /\b(DYNALOCK_EVENT_\w+) =\s*(\d+)/g,
  cause: /\b(DYNALOCK_CAUSE_\w+) =\s*([1-9]\d*)/g,
};

export class Raised {
  constructor() {
    this.seen = new Set(); // "code -4"
  }

  take(line) {
    const [, words] = /^~ ([^:]*):/.exec(line) ?? [];
    for (const word of words?.split(', ') ?? []) this.seen.add(word);
  }

  // → the names in the header that no line told.
  missing(header) {
    const text = readFileSync(header, 'utf8');
    return Object.entries(KINDS).flatMap(([kind, pattern]) => [...text.matchAll(pattern)]
      .filter(([, , number]) => !this.seen.has(`${kind} ${number}`)).map(([, name]) => name));
  }
}

// SPDX-License-Identifier: Apache-2.0
// Judges what contenders have logged (contender.c says what a line means): did ever two believe to hold one lock, did
// tokens grow, was anyone left waiting by a lock that nobody held?
//
// A belief begins when it is logged and ends at the end that was logged, at the latest when the last deadline logged has
// come: a process that is stopped or dead logs nothing, and acts on nothing either.

// One contender's log → { beliefs, waits, writes, freed, counts }; times in µs. Who is killed waits no longer; what it
// believed counts until its deadline, for nobody may have the lock before.
export function readLog(text, { who, killedAt = Infinity } = {}) {
  const log = { beliefs: [], waits: [], writes: [], freed: [], counts: {} };
  const held = new Map(); // key/token → belief
  const waiting = new Map(); // key → waits, oldest first: threads of one process are not told apart
  const stopWaiting = (key, at) => {
    const wait = waiting.get(key)?.shift();
    if (wait) wait.to = at;
  };
  for (const line of text.split('\n').slice(0, -1)) {
    const [what, key, ...numbers] = line.split(' ');
    const [first, second, third, fourth] = numbers.map(Number);
    if (what === 'wait') {
      const wait = { who, key, from: first, to: killedAt };
      log.waits.push(wait);
      waiting.set(key, [...(waiting.get(key) ?? []), wait]);
    } else if (what === 'none') {
      stopWaiting(key, first);
    } else if (what === 'hold') {
      stopWaiting(key, first);
      const belief = { who, key, from: first, until: second, token: third, ended: Infinity };
      held.set(`${key}/${third}`, belief);
      log.beliefs.push(belief);
    } else if (what === 'more') {
      const belief = held.get(`${key}/${third}`);
      belief.until = Math.max(belief.until, second);
      belief.renewed = true;
    } else if (what === 'end') {
      held.get(`${key}/${second}`).ended = first;
    } else if (what === 'freed') {
      log.freed.push({ who, key, at: first, token: second, code: third });
    } else if (what === 'write' || what === 'stale') {
      log.writes.push({ who, key, took: what === 'write', before: first, after: second, until: third, token: fourth });
    } else if (what === 'count') {
      log.counts[key] = first;
    } else {
      throw new Error(`${who}: not a line of a contender: ${line}`);
    }
  }
  return log;
}

const end = belief => Math.min(belief.ended, belief.until);

function byKey(list) {
  const keys = new Map();
  for (const each of list) keys.set(each.key, [...(keys.get(each.key) ?? []), each]);
  return keys;
}

function overlaps(beliefs) {
  const found = [];
  for (const list of byKey(beliefs).values()) {
    const ordered = list.filter(belief => end(belief) > belief.from).sort((a, b) => a.from - b.from);
    let latest = null;
    for (const belief of ordered) {
      if (latest && belief.from < end(latest)) found.push([latest, belief]);
      if (!latest || end(belief) > end(latest)) latest = belief;
    }
  }
  return found;
}

// Of those keys whose records all keep: a token exceeds those of all beliefs that had ended before it was granted, and
// no two have the same.
function disorders(beliefs, isOrdered) {
  const found = [];
  for (const [key, list] of byKey(beliefs)) {
    if (!isOrdered(key)) continue;
    const tokens = new Map();
    for (const belief of list) {
      if (tokens.has(belief.token)) found.push([tokens.get(belief.token), belief]);
      tokens.set(belief.token, belief);
    }
    const ended = [...list].sort((a, b) => end(a) - end(b));
    let next = 0;
    let highest = null;
    for (const belief of [...list].sort((a, b) => a.from - b.from)) {
      for (; next < ended.length && end(ended[next]) <= belief.from; next++)
        if (!highest || ended[next].token > highest.token) highest = ended[next];
      // What was over before it was logged may have been granted long before.
      if (highest && end(belief) > belief.from && belief.token < highest.token) found.push([highest, belief]);
    }
  }
  return found;
}

// The longest time for which somebody waited and nobody held the lock → { us, wait } of each key.
function gaps(beliefs, waits, stops) {
  const worst = [];
  const held = byKey(beliefs);
  for (const [key, list] of byKey(waits)) {
    const ordered = (held.get(key) ?? []).filter(belief => end(belief) > belief.from).sort((a, b) => a.from - b.from);
    for (const wait of list) {
      let free = wait.from;
      const look = to => {
        const us = Math.min(to, wait.to) - free;
        const stopped = stops.some(stop => stop.who === wait.who && stop.from < to && stop.to > free);
        if (us > 0 && us < Infinity && !stopped) worst.push({ us, key, who: wait.who, from: free });
      };
      for (const belief of ordered) {
        if (end(belief) <= free) continue;
        if (belief.from >= wait.to) break;
        look(belief.from);
        free = Math.max(free, end(belief));
      }
      if (free < wait.to) look(wait.to);
    }
  }
  return worst.sort((a, b) => b.us - a.us);
}

// A resource whose tokens all grow refuses nobody who still believes.
function refusedHolders(writes, isOrdered) {
  return writes.filter(({ key, took, after, until }) => isOrdered(key) && !took && after <= until);
}

// logs: of readLog, one of each contender; stops: [{ who, from, to }] when one was stopped.
export function judge(logs, { isOrdered, bound, stops = [] }) {
  const all = name => logs.flatMap(log => log[name]);
  const beliefs = all('beliefs');
  const longest = gaps(beliefs, all('waits'), stops);
  return {
    tenures: beliefs.length,
    renewed: beliefs.filter(belief => belief.renewed).length,
    stale: all('writes').filter(write => !write.took).length,
    writes: all('writes').length,
    overlaps: overlaps(beliefs),
    disorders: disorders(beliefs, isOrdered),
    refused: refusedHolders(all('writes'), isOrdered),
    longestGap: longest[0] ?? { us: 0 },
    leftWaiting: longest.filter(gap => gap.us > bound),
  };
}

// SPDX-License-Identifier: Apache-2.0
// Plots as SVG, without a library: bars in groups, stacked bars, and lines on plain or logarithmic axes.

const WIDTH = 720;
const HEIGHT = 360;
const LEFT = 70;
const RIGHT = 20;
const TOP = 56;
const BOTTOM = 54;
const COLOURS = ['#8a94a6', '#2563a8', '#d9822b', '#3a8f5c', '#a0468c', '#5a5a5a', '#c9b037'];
const INK = '#222';
const GRID = '#ddd';

const escape = text => String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;');

function text(x, y, words, { anchor = 'middle', size = 12, weight = 'normal' } = {}) {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" font-size="${size}" font-weight="${weight}">${escape(words)}</text>`;
}

const line = (x1, y1, x2, y2, colour = GRID, dash = '') =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="${colour}"${dash ? ` stroke-dasharray="${dash}"` : ''}/>`;

function frame(title, unit, legend, body) {
  let x = LEFT;
  const keys = legend.map((name, i) => {
    const key = `<rect x="${x}" y="32" width="11" height="11" fill="${COLOURS[i % COLOURS.length]}"/>${text(x + 16, 42, name, { anchor: 'start' })}`;
    x += 34 + name.length * 6.6;
    return key;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" fill="${INK}">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>
${text(LEFT, 20, title, { anchor: 'start', size: 15, weight: 'bold' })}
${text(WIDTH - RIGHT, 20, unit, { anchor: 'end' })}
${[...keys, ...body].join('\n')}
</svg>
`;
}

// A round number at or above it, and the steps to there.
function ticks(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [0.1, 0.2, 0.5, 1, 2].map(s => s * power).find(s => most / s <= 7) ?? 2 * power;
  const count = Math.ceil(most / step);
  return Array.from({ length: count + 1 }, (_, i) => i * step);
}

const label = value => value >= 1000 || Number.isInteger(value) ? value.toLocaleString('en-US', { maximumFractionDigits: 0 }) :
  String(Number(value.toPrecision(2)));

function scaleY(most) {
  const steps = ticks(most);
  const top = steps.at(-1);
  const y = value => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
  const grid = steps.flatMap(value => [line(LEFT, y(value), WIDTH - RIGHT, y(value)), text(LEFT - 8, y(value) + 4, label(value), { anchor: 'end' })]);
  return { y, grid };
}

function bar(x, width, from, to, colour) {
  return `<rect x="${x.toFixed(1)}" y="${Math.min(from, to).toFixed(1)}" width="${width.toFixed(1)}" height="${Math.abs(from - to).toFixed(1)}" fill="${colour}"/>`;
}

// groups: names below; series: [{name, values, marks?}], a value for each group; marks: bounds, drawn across the bar.
export function bars(title, unit, groups, series) {
  const { y, grid } = scaleY(Math.max(...series.flatMap(s => [...s.values, ...(s.marks ?? [])].filter(v => v !== undefined))));
  const slot = (WIDTH - LEFT - RIGHT) / groups.length;
  const width = slot * 0.76 / series.length;
  const body = groups.flatMap((group, g) => [
    text(LEFT + slot * (g + 0.5), HEIGHT - BOTTOM + 18, group),
    ...series.flatMap(({ values, marks }, s) => {
      const x = LEFT + slot * (g + 0.12) + width * s;
      const value = values[g];
      if (value === undefined) return [];
      return [bar(x, width - 2, y(0), y(value), COLOURS[s % COLOURS.length]),
        text(x + width / 2 - 1, y(value) - 5, value >= 100 ? label(Math.round(value)) : value.toFixed(2), { size: 10 }),
        ...(marks?.[g] === undefined ? [] : [line(x - 2, y(marks[g]), x + width, y(marks[g]), '#b00020', '4 2')])];
    }),
  ]);
  return frame(title, unit, series.map(s => s.name), [...grid, ...body]);
}

// One bar for each group, its series on top of each other.
export function stacked(title, unit, groups, series) {
  const sums = groups.map((_, g) => series.reduce((sum, s) => sum + (s.values[g] ?? 0), 0));
  const { y, grid } = scaleY(Math.max(...sums));
  const slot = (WIDTH - LEFT - RIGHT) / groups.length;
  const body = groups.flatMap((group, g) => {
    let at = 0;
    const parts = series.map(({ values }, s) => {
      const from = at;
      at += values[g] ?? 0;
      return bar(LEFT + slot * (g + 0.2), slot * 0.6, y(from), y(at), COLOURS[s % COLOURS.length]);
    });
    return [text(LEFT + slot * (g + 0.5), HEIGHT - BOTTOM + 18, group), ...parts,
      text(LEFT + slot * (g + 0.5), y(at) - 5, label(Math.round(at)), { size: 10 })];
  });
  return frame(title, unit, series.map(s => s.name), [...grid, ...body]);
}

// series: [{name, points: [[x, y], ...]}]; both axes logarithmic, with a tick for each x and at each power of ten of y.
export function lines(title, unit, xName, series) {
  const xs = [...new Set(series.flatMap(s => s.points.map(([x]) => x)))].sort((a, b) => a - b);
  const ys = series.flatMap(s => s.points.map(([, y]) => y));
  const low = Math.floor(Math.log10(Math.min(...ys)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...ys))));
  const span = Math.log(xs.at(-1) / xs[0]);
  const x = value => LEFT + 20 + (Math.log(value / xs[0]) / span) * (WIDTH - LEFT - RIGHT - 40);
  const y = value => HEIGHT - BOTTOM - ((Math.log10(value) - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const grid = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)).flatMap(value =>
    [line(LEFT, y(value), WIDTH - RIGHT, y(value)), text(LEFT - 8, y(value) + 4, label(value), { anchor: 'end' })]);
  const below = xs.map(value => text(x(value), HEIGHT - BOTTOM + 18, label(value)));
  const body = series.flatMap(({ points }, s) => {
    const colour = COLOURS[s % COLOURS.length];
    const path = points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`).join(' ');
    return [`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      ...points.map(([px, py]) => `<circle cx="${x(px).toFixed(1)}" cy="${y(py).toFixed(1)}" r="3.5" fill="${colour}"/>`)];
  });
  return frame(title, unit, series.map(s => s.name), [...grid, ...below, text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 40, xName), ...body]);
}

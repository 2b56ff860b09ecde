// SPDX-License-Identifier: Apache-2.0
// What a real service, or a strict reader between it and the client, would object to in a request.

const HOP = /^(content-length|content-type|x-amz-target|x-amz-date|host|authorization)$/;

function headerFaults(request) {
  const faults = [];
  const seen = new Set();
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i].toLowerCase();
    if (seen.has(name)) faults.push(`header ${name} is there twice`);
    seen.add(name);
    if (/[^\t\x20-\x7e]/.test(request.rawHeaders[i + 1]))
      faults.push(`header ${name} has a byte that is not ASCII`);
    if (HOP.test(name) && request.rawHeaders[i + 1] === '') faults.push(`header ${name} is empty`);
  }
  return faults;
}

function unsignedFaults(headers) {
  const signed = new Set((/SignedHeaders=([^, ]*)/.exec(headers.authorization ?? '')?.[1] ?? '').split(';'));
  return Object.keys(headers)
    .filter(name => name.startsWith('x-amz-') && !signed.has(name) && headers.authorization)
    .map(name => `header ${name} is not signed`);
}

// JSON.parse takes the last of two equal keys; others may take the first.
export function twiceNamed(text) {
  const open = [];
  let last = null;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:]/g)) {
    if (token === '{' || token === '[') open.push(token === '{' ? new Set() : null);
    else if (token === '}' || token === ']') open.pop();
    else if (token === ':') {
      const names = open.at(-1);
      const name = JSON.parse(last);
      if (names.has(name)) return name;
      names.add(name);
    }
    last = token;
  }
  return null;
}

function bodyFaults(request) {
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(request.body);
    const value = JSON.parse(text);
    if (value === null || typeof value !== 'object' || Array.isArray(value))
      return ['the body is not a JSON object'];
  } catch (error) {
    return [`the body is not JSON in UTF-8: ${error.message}`];
  }
  const name = twiceNamed(text);
  return name === null ? [] : [`the body names "${name}" twice`];
}

// request: { method, path, version, rawHeaders, headers, body } → list of texts, empty if all is well.
export function violations(request) {
  const { headers } = request;
  const checks = [
    [request.version !== '1.1', `HTTP version ${request.version}`],
    [request.method !== 'POST', `method ${request.method}`],
    [request.path !== '/', `path ${request.path}`],
    [headers['transfer-encoding'] !== undefined, `Transfer-Encoding: ${headers['transfer-encoding']}`],
    [headers['content-length'] === undefined, 'no Content-Length'],
    [headers.expect !== undefined, `Expect: ${headers.expect}`],
    [
      headers['accept-encoding'] !== undefined && headers['accept-encoding'] !== 'identity',
      `Accept-Encoding: ${headers['accept-encoding']}`,
    ],
    [headers['content-encoding'] !== undefined, `Content-Encoding: ${headers['content-encoding']}`],
    [headers['content-type'] !== 'application/x-amz-json-1.0', `Content-Type: ${headers['content-type']}`],
    [
      !/^DynamoDB_20120810\.[A-Za-z]+$/.test(headers['x-amz-target'] ?? ''),
      `X-Amz-Target: ${headers['x-amz-target']}`,
    ],
  ];
  const found = checks.filter(([bad]) => bad).map(([, text]) => text);
  return [...found, ...headerFaults(request), ...unsignedFaults(headers), ...bodyFaults(request)];
}

// SPDX-License-Identifier: Apache-2.0
// Judges a request as the service does: AWS's own signer signs the received bytes again, and the two must agree.
import { createHash, createHmac } from 'node:crypto';
import { SignatureV4 } from '@smithy/signature-v4';

export const WINDOW_MS = 5 * 60 * 1000;
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/, ]+)\/(\d{8})\/([^/, ]+)\/([^/, ]+)\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/;
const REQUIRED = ['host', 'content-type', 'x-amz-date', 'x-amz-target'];
const CORAL = 'com.amazon.coral.service#';

// The hash that AWS's signer asks for, on node's own crypto.
class Sha256 {
  constructor(key) {
    this.hash = key === undefined ? createHash('sha256') : createHmac('sha256', key);
  }
  update(data) {
    this.hash.update(data);
  }
  async digest() {
    return new Uint8Array(this.hash.digest());
  }
}

const refusal = (name, message) => ({ status: 400, type: CORAL + name, message });

function longDate(ms) {
  return new Date(ms).toISOString().replace(/[-:]|\.\d{3}/g, '');
}

function parseDate(text) {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text ?? '');
  return parts ? Date.UTC(parts[1], parts[2] - 1, parts[3], parts[4], parts[5], parts[6]) : NaN;
}

function wrongTime(signed, now) {
  const [sent, clock] = [longDate(signed), longDate(now)];
  if (signed < now - WINDOW_MS) {
    return `Signature expired: ${sent} is now earlier than ${longDate(now - WINDOW_MS)} (${clock} - 5 min.)`;
  }
  if (signed > now + WINDOW_MS) {
    return `Signature not yet current: ${sent} is still later than ${longDate(now + WINDOW_MS)} (${clock} + 5 min.)`;
  }
  return null;
}

async function signature(request, key, scope, names, signedAt) {
  const signer = new SignatureV4({
    credentials: { accessKeyId: scope.keyId, secretAccessKey: key.secret },
    region: scope.region,
    service: scope.service,
    sha256: Sha256,
    applyChecksum: false,
  });
  const headers = Object.fromEntries(names.map(name => [name, request.headers[name] ?? '']));
  const signed = await signer.sign(
    {
      method: request.method,
      protocol: 'http:',
      hostname: '',
      path: request.path,
      query: {},
      headers,
      body: request.body,
    },
    { signingDate: new Date(signedAt), signableHeaders: new Set(names) },
  );
  return signed.headers.authorization;
}

// request: { method, path, headers (lower-case names), body }; keys: { access key: { secret, token? } }.
// A key may have `expires`, in ms. → null if all is well, or the service's refusal { status, type, message }.
export async function judge(request, keys, now, region, ofService = 'dynamodb', required = REQUIRED) {
  const { authorization } = request.headers;
  if (!authorization)
    return refusal('MissingAuthenticationTokenException', 'Request is missing Authentication Token');
  const parts = AUTHORIZATION.exec(authorization);
  if (!parts) return refusal('IncompleteSignatureException', 'Authorization header is not well-formed');
  const [, keyId, day, inRegion, service, list, sent] = parts;
  const names = list.split(';');
  const needed =
    request.headers['x-amz-security-token'] === undefined ? required : [...required, 'x-amz-security-token'];
  const unsigned = needed.filter(name => !names.includes(name));
  if (unsigned.length)
    return refusal('InvalidSignatureException', `these headers must be signed: ${unsigned}`);
  if (names.join() !== [...names].sort().join())
    return refusal('IncompleteSignatureException', 'SignedHeaders is not sorted');
  const signedAt = parseDate(request.headers['x-amz-date']);
  if (Number.isNaN(signedAt)) return refusal('IncompleteSignatureException', 'X-Amz-Date is not well-formed');
  const late = wrongTime(signedAt, now);
  if (late) return refusal('InvalidSignatureException', late);
  const key = keys[keyId];
  if (!key || (key.token ?? undefined) !== request.headers['x-amz-security-token']) {
    return refusal('UnrecognizedClientException', 'The security token included in the request is invalid.');
  }
  if (key.expires !== undefined && now >= key.expires) {
    return refusal('ExpiredTokenException', 'The security token included in the request is expired');
  }
  if (day !== longDate(signedAt).slice(0, 8) || service !== ofService || (region && region !== inRegion)) {
    return refusal(
      'InvalidSignatureException',
      'Credential should be scoped to a valid region, service and date.',
    );
  }
  const expected = await signature(request, key, { keyId, region: inRegion, service }, names, signedAt);
  if (!expected.endsWith(`Signature=${sent}`)) {
    return refusal(
      'InvalidSignatureException',
      'The request signature we calculated does not match the signature you provided. ' +
        'Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
    );
  }
  return null;
}

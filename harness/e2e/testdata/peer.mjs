// A WhatsApp client written against Node's own crypto alone: an implementation of
// the envelope that shares no line with ours. It plays one conversation with the
// endpoint and prints what it was answered, one JSON document a line.
//
//   EDGE_URL  APP_SECRET  PUBLIC_KEY (PEM, SPKI)  FLOW  TOKEN

import assert from 'node:assert/strict';
import { constants, createCipheriv, createDecipheriv, createHmac, publicEncrypt, randomBytes } from 'node:crypto';

const { EDGE_URL, APP_SECRET, PUBLIC_KEY, FLOW, TOKEN } = process.env;
const endpoint = `${EDGE_URL}/flows/endpoint/${FLOW}`;

function seal(request, { oaepHash = 'sha256' } = {}) {
  const key = randomBytes(16);
  const iv = randomBytes(16);
  const cipher = createCipheriv('aes-128-gcm', key, iv);
  const data = Buffer.concat([cipher.update(JSON.stringify(request), 'utf8'), cipher.final(), cipher.getAuthTag()]);
  const wrapped = publicEncrypt({ key: PUBLIC_KEY, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, key);
  const body = JSON.stringify({
    encrypted_flow_data: data.toString('base64'),
    encrypted_aes_key: wrapped.toString('base64'),
    initial_vector: iv.toString('base64'),
  }).replaceAll('/', '\\/'); // as Meta sends it; the signature is over these very bytes
  return { key, iv, body };
}

function open(text, { key, iv }) {
  const sealed = Buffer.from(text, 'base64');
  assert.equal(sealed.toString('base64'), text, 'the body is not canonical base64');
  const inverted = Buffer.from(iv.map((byte) => ~byte & 0xff));
  const decipher = createDecipheriv('aes-128-gcm', key, inverted);
  decipher.setAuthTag(sealed.subarray(-16));
  return JSON.parse(Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]).toString('utf8'));
}

async function post(body, signature = createHmac('sha256', APP_SECRET).update(body).digest('hex')) {
  return fetch(endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-hub-signature-256': `sha256=${signature}` },
    body,
  });
}

async function ask(request) {
  const envelope = seal({ version: '4.0', ...request });
  const response = await post(envelope.body);
  const text = await response.text();
  assert.equal(response.status, 200, `${request.action} ${request.screen ?? ''}: status ${response.status}`);
  assert.match(response.headers.get('content-type'), /^text\/plain/);
  const reply = open(text, envelope);
  console.log(JSON.stringify(reply));
  return { reply, envelope, text };
}

async function refused(status, body, signature) {
  const response = await post(body, signature);
  assert.equal(response.status, status);
  assert.equal(await response.text(), '', `status ${status} has a body`);
}

const step = (action, screen, data) => ({ action, screen, data, flow_token: TOKEN });

const ping = await ask({ action: 'ping' });
assert.deepEqual(ping.reply, { data: { status: 'active' } });

const first = await ask(step('INIT', '', {}));
assert.equal(first.reply.screen, 'RATING');

const second = await ask(step('data_exchange', 'RATING', { score: '5' }));
assert.equal(second.reply.screen, 'COMMENT');
assert.equal(second.reply.data.score, '5');

// The same envelope again: the same bytes again.
assert.equal(await (await post(second.envelope.body)).text(), second.text);

const comment = 'Grüße 👋 "quoted" \\ / \u2028';
const third = await ask(step('data_exchange', 'COMMENT', { score: '5', comment }));
assert.equal(third.reply.screen, 'THANKS');

const last = await ask(step('data_exchange', 'THANKS', { score: '5', comment, contact_me: true }));
assert.equal(last.reply.screen, 'SUCCESS');
assert.deepEqual(last.reply.data.extension_message_response.params, {
  score: '5', comment, contact_me: true, flow_token: TOKEN,
});

await refused(432, seal(step('INIT', '', {})).body, '0'.repeat(64));
await refused(421, seal(step('INIT', '', {}), { oaepHash: 'sha1' }).body);
await refused(400, '{"encrypted_flow_data":"*"}');

// Passkeys in a real Chromium with a virtual authenticator (CDP WebAuthn)
// against a live server that is not set up yet; prints one JSON object and
// exits non-zero when something fails.
//
//   node console/test/passkey.mjs --base https://localhost:8443 --link LINK [--out DIR]
//
// It registers a passkey, renames it, signs in with it by one touch, offers it
// in the name's field, steps up with it, and proves that an answer replayed, a
// missing user verification and a wrong flow are refused, then removes it.
import { createHmac } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

const opt = {};
for (let i = 2; i < process.argv.length; i += 2) opt[process.argv[i].replace(/^--/, '')] = process.argv[i + 1];
const base = (opt.base ?? 'https://localhost:8443').replace(/\/$/, '');
const out = opt.out ?? '';
if (out) mkdirSync(out, { recursive: true });
const user = 'operator';
const password = 'correct horse battery staple';
const result = { ok: false, steps: {}, csp: [], failed: [] };
const check = (name, good, seen) => {
  result.steps[name] = seen ?? good;
  if (!good) result.failed.push(`${name}: ${JSON.stringify(seen)}`);
};

const B32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
let last = 0;
async function totp(secret) {
  const bits = [...secret].map((c) => B32.indexOf(c).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((x) => parseInt(x, 2)));
  let n = Math.floor(Date.now() / 30000);
  if (n <= last) {
    await new Promise((r) => setTimeout(r, (last + 1) * 30000 - Date.now() + 300));
    n = Math.floor(Date.now() / 30000);
  }
  last = n;
  const msg = Buffer.alloc(8);
  msg.writeBigUInt64BE(BigInt(n));
  const h = createHmac('sha1', key).update(msg).digest();
  return String((h.readUInt32BE(h[19] & 15) & 0x7fffffff) % 1e6).padStart(6, '0');
}

const exe = [opt.chromium, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((p) => p && existsSync(p));
if (!exe) {
  console.log(JSON.stringify({ ok: false, failed: ['no Chromium found; give --chromium PATH'] }));
  process.exit(2);
}
const profile = mkdtempSync(path.join(tmpdir(), 'bartizan-passkey-'));
const ctx = await chromium.launchPersistentContext(profile, { executablePath: exe, headless: true, ignoreHTTPSErrors: true, viewport: { width: 1280, height: 860 }, args: ['--no-sandbox', '--disable-dev-shm-usage', '--mute-audio', '--ignore-certificate-errors'] });
const page = ctx.pages()[0] ?? (await ctx.newPage());
page.setDefaultTimeout(15000);
page.on('console', (m) => /Content Security Policy|Trusted Type/i.test(m.text()) && result.csp.push(m.text().slice(0, 200)));
const shot = (n) => (out ? page.screenshot({ path: path.join(out, n + '.png') }) : undefined);

const cdp = await ctx.newCDPSession(page);
await cdp.send('WebAuthn.enable');
const authenticator = async (verified) =>
  (await cdp.send('WebAuthn.addVirtualAuthenticator', { options: { protocol: 'ctap2', ctap2Version: 'ctap2_1', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: verified, automaticPresenceSimulation: true } })).authenticatorId;
const logOut = async () => {
  await page.getByRole('button', { name: /account and settings/ }).click();
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.waitForURL('**/login*');
};

try {
  await page.goto(base + '/setup' + opt.link.slice(opt.link.indexOf('#')), { waitUntil: 'load' });
  await page.getByLabel('Name').fill(user);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByLabel('Password again').fill(password);
  await page.getByRole('button', { name: 'Create administrator' }).click();
  const secret = await page.locator('code[data-secret]').getAttribute('data-secret');
  await page.getByLabel('I have saved the recovery codes').check();
  await page.getByLabel('Code from your authenticator app').fill(await totp(secret));
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await page.waitForURL('**/live*');

  // ---- register and name
  const a = await authenticator(true);
  await page.goto(base + '/security');
  let t0 = Date.now();
  await page.getByRole('button', { name: 'Register a passkey' }).click();
  const d = page.getByRole('dialog', { name: 'Name this passkey' });
  await d.waitFor();
  check('register_ms', true, Date.now() - t0);
  await d.getByLabel('Name').fill('Test laptop');
  await d.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('button', { name: 'Rename Test laptop' }).waitFor();
  const held = (await cdp.send('WebAuthn.getCredentials', { authenticatorId: a })).credentials;
  check('resident', held.length === 1 && held[0].isResidentCredential && held[0].rpId === new URL(base).hostname, { count: held.length, resident: held[0]?.isResidentCredential, rp: held[0]?.rpId });
  await shot('passkey-registered');

  // ---- a second one on the same device is refused by the device itself
  await page.getByRole('button', { name: 'Register a passkey' }).click();
  await page.getByText('This device has a passkey of yours already.').waitFor();
  check('same device', true, 'refused');

  // ---- offered in the name's field: nothing but opening the page
  await logOut();
  t0 = Date.now();
  await page.goto(base + '/login');
  await page.waitForURL('**/live*', { timeout: 8000 });
  check('conditional_ms', true, Date.now() - t0);

  // ---- one touch; what goes over the wire is kept for a replay
  // The quiet offer is kept from the browser here, so that the button is what lets in.
  let offers = 0;
  await page.route('**/session/passkey/options', (r) => (offers++ < 2 ? r.abort() : r.continue()));
  await logOut();
  await page.waitForTimeout(300);
  let sent;
  page.on('request', (r) => {
    if (r.method() === 'POST' && r.url().endsWith('/api/v1/session/passkey')) sent = r.postData();
  });
  await page.goto(base + '/login');
  await page.getByRole('button', { name: 'Log in with a passkey' }).waitFor();
  await shot('login-passkey');
  await page.waitForTimeout(300);
  t0 = Date.now();
  await page.getByRole('button', { name: 'Log in with a passkey' }).click();
  await page.waitForURL('**/live*');
  await page.unroute('**/session/passkey/options');
  check('sign_in_ms', true, Date.now() - t0);
  const s = await page.evaluate(async () => (await fetch('/api/v1/session')).json());
  check('who', s.user === user && !s.single, { user: s.user, fresh: !!s.fresh, single: !!s.single });

  // ---- the same answer once more
  const post = (body) => page.evaluate(async (body) => { const r = await fetch('/api/v1/session/passkey', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }); return { status: r.status, title: (await r.json()).title }; }, body);
  const replay = await post(sent);
  check('replay refused', replay.status === 401 || replay.status === 400, replay);
  // An old answer to a new question is no better.
  const flow = await page.evaluate(async () => (await (await fetch('/api/v1/session/passkey/options', { method: 'POST' })).json()).flow);
  const crossed = await post(JSON.stringify({ ...JSON.parse(sent), flow }));
  check('replay in a new flow refused', crossed.status === 401 || crossed.status === 400, crossed);

  // ---- step-up by passkey
  await page.goto(base + '/people/groups');
  let n = 0;
  await page.route('**/api/v1/groups', (r) => (r.request().method() === 'POST' && !n++ ? r.fulfill({ status: 403, contentType: 'application/problem+json', body: JSON.stringify({ title: 'This needs your second factor', status: 403, kind: 'step-up' }) }) : r.continue()));
  await page.getByRole('button', { name: 'New group' }).click();
  await page.getByRole('dialog').getByLabel('Name').fill('Passkey group');
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await page.getByRole('button', { name: 'Use your passkey' }).click();
  await page.getByRole('region', { name: 'Passkey group' }).waitFor();
  await page.unroute('**/api/v1/groups');
  check('step-up', n === 2, 'by passkey, then repeated');

  // ---- without user verification nobody comes in
  await cdp.send('WebAuthn.setUserVerified', { authenticatorId: a, isUserVerified: false });
  await logOut();
  await page.getByRole('button', { name: 'Log in with a passkey' }).click();
  await page.getByText('No passkey was used.').waitFor();
  check('no user verification', page.url().includes('/login'), 'refused by the device');
  await shot('login-no-verification');
  // A browser that asks for less than the server wants: the answer says so and is refused.
  const b = await page.evaluate(async () => {
    const q = await (await fetch('/api/v1/session/passkey/options', { method: 'POST' })).json();
    const o = PublicKeyCredential.parseRequestOptionsFromJSON({ ...(q.options.publicKey ?? q.options), userVerification: 'discouraged' });
    const c = await navigator.credentials.get({ publicKey: o });
    const r = await fetch('/api/v1/session/passkey', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ flow: q.flow, credential: c.toJSON() }) });
    const flags = new Uint8Array(c.response.authenticatorData)[32];
    return { status: r.status, title: (await r.json()).title, verified: !!(flags & 4) };
  });
  check('answer without verification refused', !b.verified && (b.status === 401 || b.status === 400), b);

  // ---- remove
  await cdp.send('WebAuthn.setUserVerified', { authenticatorId: a, isUserVerified: true });
  await page.goto(base + '/login');
  await page.waitForURL('**/live*', { timeout: 8000 });
  await page.goto(base + '/security');
  await page.getByRole('button', { name: 'Remove Test laptop' }).click();
  await page.getByRole('button', { name: 'Remove passkey' }).click();
  await page.getByText('You have no passkey yet.').waitFor();
  await logOut();
  await page.getByRole('button', { name: 'Log in with a passkey' }).click();
  await page.getByRole('alert').waitFor();
  check('removed key refused', page.url().includes('/login'), (await page.getByRole('alert').innerText()).replace(/\n+/g, ' | '));
} catch (e) {
  result.failed.push(String(e.stack ?? e).split('\n').slice(0, 4).join(' '));
  await Promise.resolve(shot('passkey-failed')).catch(() => {});
} finally {
  await ctx.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 3 });
}
if (result.csp.length) result.failed.push(`policy: ${result.csp.length} violations`);
result.ok = result.failed.length === 0;
console.log(JSON.stringify(result, null, 2));
process.exit(result.ok ? 0 : 1);

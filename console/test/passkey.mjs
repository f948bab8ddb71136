// Passkeys in a real Chromium with its virtual authenticator (Web
// Authentication Level 3 §11, through the DevTools protocol), against a live
// node. Prints one JSON object; exits non-zero when something fails.
//
//   node console/test/passkey.mjs --base https://localhost:8443 --user NAME --password PASS --totp SECRET
import { createHmac } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

const opt = {};
for (let i = 2; i + 1 < process.argv.length; i += 2) opt[process.argv[i].slice(2)] = process.argv[i + 1];
const result = { ok: false, steps: {}, failed: [] };
const check = (name, ok, what) => {
  result.steps[name] = what ?? ok;
  if (!ok) result.failed.push(`${name}: ${JSON.stringify(what)}`);
};

function totp(secret) {
  const abc = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  const bits = [...secret].map((c) => abc.indexOf(c).toString(2).padStart(5, '0')).join('');
  const msg = Buffer.alloc(8);
  msg.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000)));
  const h = createHmac('sha1', Buffer.from(bits.match(/.{8}/g).map((x) => parseInt(x, 2)))).update(msg).digest();
  return String((h.readUInt32BE(h[19] & 15) & 0x7fffffff) % 1e6).padStart(6, '0');
}

const exe = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((p) => existsSync(p));
const profile = mkdtempSync(path.join(tmpdir(), 'bartizan-passkey-'));
const ctx = await chromium.launchPersistentContext(profile, {
  executablePath: exe, headless: true, ignoreHTTPSErrors: true,
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--ignore-certificate-errors'],
});
try {
  const page = ctx.pages()[0] ?? (await ctx.newPage());
  const cdp = await ctx.newCDPSession(page);
  await cdp.send('WebAuthn.enable');
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: { protocol: 'ctap2', ctap2Version: 'ctap2_1', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
  await page.goto(opt.base + '/');

  /** post asks the node from the page, as the console does. */
  const post = (p, body, method = 'POST') =>
    page.evaluate(async ([p, body, method]) => {
      const r = await fetch('/api/v1' + p, { method, headers: body === null ? {} : { 'Content-Type': 'application/json' }, body: body === null ? undefined : JSON.stringify(body) });
      return { status: r.status, body: r.status === 204 ? null : await r.json() };
    }, [p, body ?? null, method]);
  /** answer lets the authenticator answer a ceremony, its options bent first. */
  const answer = (kind, options) =>
    page.evaluate(async ([kind, options]) => {
      try {
        const c = kind === 'create'
          ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
          : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
        return { credential: c.toJSON() };
      } catch (e) {
        return { error: String(e) };
      }
    }, [kind, options]);
  const signIn = async (bend = (o) => o) => {
    const q = await post('/session/passkey/options');
    if (q.status !== 200) return { status: q.status, body: q.body };
    const a = await answer('get', bend(q.body.options));
    if (a.error) return { error: a.error };
    const sent = { flow: q.body.flow, credential: a.credential };
    return { sent, ...(await post('/session/passkey', sent)) };
  };

  const login = await post('/session', { user: opt.user, password: opt.password, code: totp(opt.totp) });
  check('password', login.status === 201, login);
  const begin = await post('/passkeys/options');
  check('options', begin.status === 200 && begin.body.options.authenticatorSelection.userVerification === 'required' && begin.body.options.authenticatorSelection.residentKey === 'required', begin);
  const made = await answer('create', begin.body.options);
  const added = await post('/passkeys', { flow: begin.body.flow, name: 'this browser', credential: made.credential });
  check('register', added.status === 201 && added.body.name === 'this browser', made.error ?? added);
  const twice = await post('/passkeys', { flow: begin.body.flow, name: 'again', credential: made.credential });
  check('registration replayed is refused', twice.status === 401, twice);

  check('log out', (await post('/session', null, 'DELETE')).status === 204);
  const one = await signIn();
  check('sign in', one.status === 201 && one.body.user === opt.user && one.body.actions.includes('people.configure'), one.error ?? { status: one.status, body: one.body });
  const replay = await post('/session/passkey', one.sent);
  check('replay is refused', replay.status === 401, replay);
  const other = await post('/session/passkey/options');
  const moved = await post('/session/passkey', { flow: other.body.flow, credential: one.sent.credential });
  check('an answer to another question is refused', moved.status === 401, moved);

  const up = await post('/session/step-up/options');
  const again = await answer('get', up.body.options);
  const fresh = await post('/session/step-up', { flow: up.body.flow, credential: again.credential });
  check('step up', fresh.status === 200 && new Date(fresh.body.fresh) > new Date(Date.now() - 60000), again.error ?? fresh);
  check('still signed in', (await post('/session', null, 'GET')).status === 200);

  // The page lies to the authenticator that nobody need be verified, and the
  // authenticator verifies nobody: the node must see it.
  await cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false });
  const unverified = await signIn((o) => ({ ...o, userVerification: 'discouraged' }));
  check('user verification missing is refused', unverified.status === 401, unverified.error ?? { status: unverified.status, body: unverified.body });
  await cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: true });

  // A copy of the key made earlier: its counter is behind.
  const { credentials } = await cdp.send('WebAuthn.getCredentials', { authenticatorId });
  check('one resident key', credentials.length === 1 && credentials[0].isResidentCredential, credentials.length);
  const two = await signIn();
  check('sign in again', two.status === 201, two.error ?? { status: two.status, body: two.body });
  if (credentials[0].signCount > 0) {
    await cdp.send('WebAuthn.removeCredential', { authenticatorId, credentialId: credentials[0].credentialId });
    await cdp.send('WebAuthn.addCredential', { authenticatorId, credential: { ...credentials[0], signCount: 0 } });
    const cloned = await signIn();
    check('a counter that went back is refused', cloned.status === 403, cloned.error ?? { status: cloned.status, body: cloned.body });
    const list = await post('/passkeys', null, 'GET');
    check('the key is blocked', list.body?.passkeys?.[0]?.blocked === true, list);
  }
  result.ok = result.failed.length === 0;
} catch (e) {
  result.failed.push(String(e.stack ?? e));
} finally {
  await ctx.close();
  rmSync(profile, { recursive: true, force: true });
}
console.log(JSON.stringify(result, null, 1));
process.exit(result.ok ? 0 : 1);

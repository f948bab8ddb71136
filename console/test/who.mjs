// The part of e2e.mjs about people, rights and the trail, in a real browser
// against a live server: called with the page of a logged-in administrator.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

/** who drives it. t holds the tools of e2e.mjs: page, base, attempt, until, step, fail, axe, shot, totp, watch, launch, user. */
export async function who(t) {
  const { page, base, attempt, until, step, fail, axe, shot } = t;
  const name = 'second.person';
  const password = 'seven lamps under the bridge';
  let link = '';
  let seed = '';
  let other;
  let profile;

  /** confirm answers the question for the second factor, if it is asked within ms. */
  const confirm = async (ms = 700) => {
    const d = page.getByRole('dialog', { name: 'Show that it is you' });
    if (!(await d.waitFor({ timeout: ms }).then(() => true, () => false))) return false;
    await d.getByLabel('Code from your authenticator app').fill(await t.code());
    await d.getByRole('button', { name: 'Confirm' }).click();
    await d.waitFor({ state: 'detached' });
    return true;
  };

  await attempt('people', async () => {
    await page.goto(base + '/people');
    await page.locator(`tr[data-person="${t.user}"]`).waitFor();
    await page.waitForTimeout(300);
    await axe('people');
    await shot('people-alone-1600');
  });

  await attempt('groups and step-up', async () => {
    await page.goto(base + '/people/groups');
    await page.getByRole('button', { name: 'New group' }).click();
    const d = page.getByRole('dialog', { name: 'New group' });
    await d.getByLabel('Name').fill('Yard');
    const cams = d.locator('.cams input');
    await cams.nth(0).check();
    await cams.nth(1).check();
    await axe('group');
    // The first try is refused as after five minutes: the console asks for the
    // factor, shows it to the server and repeats by itself.
    let refused = 0;
    await page.route('**/api/v1/groups', (r) => (r.request().method() === 'POST' && !refused++ ? r.fulfill({ status: 403, contentType: 'application/problem+json', body: JSON.stringify({ title: 'This needs your second factor', status: 403, kind: 'step-up' }) }) : r.continue()));
    await d.getByRole('button', { name: 'Save' }).click();
    const s = page.getByRole('dialog', { name: 'Show that it is you' });
    await s.waitFor();
    await axe('step-up');
    await shot('step-up-1600');
    if (!(await confirm())) throw new Error('no question for the second factor');
    await page.getByRole('region', { name: 'Yard' }).waitFor();
    await page.unroute('**/api/v1/groups');
    step('step_up', refused === 2 ? 'asked, shown, repeated' : `the request came ${refused} times`);
    if (refused !== 2) fail('step-up', 'the action was not repeated once');
    await axe('groups');
    await shot('groups-1600');
  });

  await attempt('matrix', async () => {
    await page.goto(base + '/people/rights?role=viewer');
    const cell = (what) => page.locator('[data-matrix=cameras]').getByRole('button', { name: new RegExp(`^${what} on Yard:`) });
    await cell('Export').waitFor();
    const before = await cell('Export').getAttribute('aria-label');
    await cell('Export').click();
    const d = page.getByRole('dialog', { name: 'Viewer: Export on Yard' });
    await d.getByText('Given at certain times').click();
    await axe('cell');
    await shot('cell-1600');
    // A window that does not hold now: it begins in two hours, for one hour.
    const h = (n) => String((new Date().getUTCHours() + n) % 24).padStart(2, '0') + ':00';
    await d.getByLabel('Time zone').selectOption('UTC');
    for (const x of ['Sat', 'Sun']) await d.getByText(x, { exact: true }).click();
    await d.getByLabel('From', { exact: true }).fill(h(2));
    await d.getByLabel('To', { exact: true }).fill(h(3));
    await d.getByRole('button', { name: 'Save' }).click();
    await confirm();
    await d.waitFor({ state: 'detached' });
    const after = await until('the cell', async () => { const a = await cell('Export').getAttribute('aria-label'); return a !== before && a; }, 5000);
    step('matrix', `${before} -> ${after}`);
    if (!/at other times/.test(after)) fail('matrix', after);
    await cell('PTZ').click();
    const p = page.getByRole('dialog', { name: 'Viewer: PTZ on Yard' });
    await p.getByText('whatever else gives it').click();
    await p.getByRole('button', { name: 'Save' }).click();
    await confirm();
    await until('forbidden', async () => /forbidden/.test(await cell('PTZ').getAttribute('aria-label')), 5000);
    await page.waitForTimeout(300);
    await axe('matrix');
    await shot('rights-1600');
  });

  await attempt('invite', async () => {
    await page.goto(base + '/people');
    await page.getByRole('button', { name: 'Invite', exact: true }).click();
    const d = page.locator('dialog[open]');
    await d.getByLabel('Name').fill(name);
    await d.getByLabel('Role').selectOption('viewer');
    await axe('invite');
    await d.getByRole('button', { name: 'Make the link' }).click();
    await confirm();
    link = await d.locator('code[data-once]').innerText();
    await shot('invite-1600');
    await axe('invite, link');
    await d.getByRole('button', { name: 'Done' }).click();
    await page.getByRole('button', { name: `Take back the invitation of ${name}` }).waitFor();
  });

  await attempt('second person', async () => {
    if (!link) throw new Error('no invitation');
    profile = mkdtempSync(path.join(tmpdir(), 'bartizan-e2e2-'));
    other = await chromium.launchPersistentContext(profile, t.launch);
    const q = other.pages()[0] ?? (await other.newPage());
    q.setDefaultTimeout(15000);
    await t.watch(q);
    await q.goto(link);
    await q.getByRole('button', { name: /With a password and an app/ }).waitFor();
    await axe('invitation', other, q);
    await shot('invitation-1600', q);
    await q.getByRole('button', { name: /With a password and an app/ }).click();
    await q.getByLabel('Password', { exact: true }).fill(password);
    await q.getByLabel('Password again').fill(password);
    seed = await q.locator('code[data-once=Secret]').innerText();
    await axe('invitation, password', other, q);
    await shot('invitation-password-1600', q);
    await q.getByLabel(/Enter the code the app shows/).fill(await t.codeOf(seed));
    await q.getByRole('button', { name: 'Accept invitation' }).click();
    await q.locator('.codes li').first().waitFor();
    step('second_recovery_codes', await q.locator('.codes li').count());
    await q.getByLabel('I have saved the recovery codes').check();
    await q.getByRole('button', { name: 'Go to log-in' }).click();
    await q.getByLabel('Name').fill(name);
    await q.getByLabel('Password').fill(password);
    await q.getByLabel('Code from your authenticator app').fill(await t.codeOf(seed));
    await q.getByRole('button', { name: 'Log in', exact: true }).click();
    await q.waitForURL('**/live*');
    await until('their wall moves', () => q.evaluate(() => [...document.querySelectorAll('article.tile')].some((x) => x.dataset.state === 'live' && Number(x.dataset.frames) > 2)), 15000);
    // What a viewer may not see says who can give it.
    await q.goto(base + '/people/rights');
    await q.getByText(/can give you the right/).waitFor();
    step('second_refused', (await q.getByRole('alert').innerText()).replace(/\n+/g, ' | '));
    await axe('people, refused', other, q);
    await shot('people-refused-1600', q);
    // A link serves once.
    await q.goto(link);
    await q.getByRole('alert').waitFor();
    step('invitation_again', (await q.getByRole('alert').innerText()).replace(/\n+/g, ' | '));
    await q.goto(base + '/live');
    await q.locator('article.tile').first().waitFor();
  });

  await attempt('person', async () => {
    await page.goto(base + '/people');
    await page.locator(`tr[data-person="${name}"]`).waitFor();
    await page.waitForTimeout(300);
    await axe('people, two');
    await shot('people-1600');
    await page.getByRole('button', { name, exact: true }).click();
    await page.locator('dialog.drawer[open]').waitFor();
    await page.waitForTimeout(500);
    await axe('person');
    await shot('person-1600');
    await page.getByRole('button', { name: 'View as' }).click();
    await page.getByText(/sees right now/).waitFor();
    step('view_as', (await page.locator('.banner').innerText()).trim());
    await axe('view as');
    await shot('view-as-1600');
  });

  await attempt('why', async () => {
    const ask = async (action) => {
      await page.goto(base + '/people/why');
      await page.getByLabel('Who').selectOption({ label: name });
      await page.getByLabel('Does what').selectOption(action);
      await page.getByRole('button', { name: 'Ask', exact: true }).click();
      const a = page.locator('.answer');
      await a.waitFor();
      return { allowed: (await a.getAttribute('data-allowed')) === 'true', words: (await a.innerText()).replace(/\n+/g, ' | '), near: await page.locator('.answer + section li').allInnerTexts() };
    };
    const live = await ask('live');
    const out = await ask('export');
    await page.waitForTimeout(200);
    await shot('why-1600');
    await axe('why');
    const ptz = await ask('ptz');
    step('why', { live: live.words, export: out.words, near: out.near, ptz: ptz.words });
    if (!live.allowed || out.allowed || ptz.allowed) fail('why', 'the answers are wrong');
    if (!out.near.length) fail('why', 'the grant at other times is not told');
  });

  await attempt('review', async () => {
    await page.goto(base + '/people/review');
    await page.getByRole('heading', { name: 'Access review' }).waitFor();
    await until('review', async () => !(await page.locator('[aria-busy=true]').count()), 8000);
    await axe('review');
    await shot('review-1600');
  });

  await attempt('four eyes', async () => {
    if (!other) throw new Error('no second pair of eyes');
    const q = other.pages()[0];
    // Viewers may approve; export needs a second person, administrators' too.
    await page.goto(base + '/people/rights?role=viewer');
    await page.getByRole('button', { name: /^Approve on Everything:/ }).click();
    const c = page.getByRole('dialog', { name: 'Viewer: Approve on everything' });
    await c.getByText('Given, at any time').click();
    await c.getByRole('button', { name: 'Save' }).click();
    await confirm();
    await c.waitFor({ state: 'detached' });
    const needs = async (on) => {
      await page.goto(base + '/people/requests');
      await page.getByRole('checkbox', { name: 'Export video' }).setChecked(on);
      await page.getByRole('button', { name: 'Save', exact: true }).click();
      await confirm();
      await until('saved', () => page.getByRole('button', { name: 'Save', exact: true }).isDisabled(), 5000);
    };
    await needs(true);
    await page.getByRole('button', { name: 'Ask a second person' }).click();
    const d = page.getByRole('dialog', { name: 'Ask a second person' });
    await d.getByLabel('Why?').fill('Police asked for the night of the fire');
    await axe('ask');
    await d.getByRole('button', { name: 'Ask', exact: true }).click();
    await confirm();
    await page.getByText('Police asked for the night of the fire').first().waitFor();
    await page.getByText('Somebody else decides.').waitFor();
    await q.goto(base + '/people/requests');
    await q.getByRole('button', { name: `Approve the request of ${t.user}` }).click();
    await q.getByLabel(/Your answer/).fill('Agreed');
    await q.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
    await q.getByText(/approved by second\.person/).waitFor();
    await page.reload();
    const text = await page.getByRole('article', { name: `Request of ${t.user}` }).innerText();
    step('four_eyes', text.replace(/\n+/g, ' | '));
    if (!text.includes(t.user) || !text.includes(name)) fail('four eyes', 'both names are not shown');
    await axe('requests');
    await shot('requests-1600');
    await needs(false);
    await q.goto(base + '/live');
    await q.locator('article.tile').first().waitFor();
  });

  await attempt('security', async () => {
    await page.goto(base + '/security');
    await page.getByRole('heading', { name: 'Passkeys' }).waitFor();
    await page.waitForTimeout(300);
    await axe('your log-in');
    await shot('security-1600');
    await page.goto(base + '/security/sessions');
    await page.getByRole('heading', { name: 'Your sessions' }).waitFor();
    await page.getByText(name).first().waitFor();
    await page.waitForTimeout(300);
    await axe('sessions');
    await shot('sessions-1600');
    await page.goto(base + '/security/tokens');
    await page.getByLabel('Name', { exact: true }).fill('Wall display');
    await page.getByLabel('For some things only').check();
    await page.getByRole('checkbox', { name: 'Live', exact: true }).check();
    await axe('tokens');
    await page.getByRole('button', { name: 'Create' }).click();
    await confirm();
    await page.locator('code[data-once=Token]').waitFor();
    step('token', await page.locator('.item', { hasText: 'Wall display' }).innerText().then((s) => s.replace(/\n+/g, ' | ')));
    await shot('tokens-1600');
    await page.getByRole('button', { name: 'Revoke token Wall display' }).click();
    await confirm();
    await until('revoked', async () => !(await page.locator('.item', { hasText: 'Wall display' }).count()), 5000);
  });

  await attempt('lists', async () => {
    await page.goto(base + '/security/lists');
    await page.getByRole('button', { name: 'Add to a list' }).click();
    const d = page.locator('dialog[open]');
    await d.getByLabel('Address or network').fill('203.0.113.0/24');
    await d.getByLabel('Reason').fill('Scans every night');
    await axe('list rule');
    await d.getByRole('button', { name: 'Save' }).click();
    await confirm();
    await page.locator('[data-rule="203.0.113.0/24"]').waitFor();
    await axe('lists');
    await shot('lists-1600');
    step('list_rule', (await page.locator('[data-rule="203.0.113.0/24"]').innerText()).replace(/\s+/g, ' '));
    await page.getByRole('button', { name: 'Remove 203.0.113.0/24' }).click();
    await confirm();
    await until('removed', async () => !(await page.locator('[data-rule="203.0.113.0/24"]').count()), 5000);
    if (!(await page.getByRole('button', { name: 'Ban a network' }).count())) return;
    await page.getByRole('button', { name: 'Ban a network' }).click();
    await d.getByLabel('Address or network').fill('198.51.100.7');
    await d.getByLabel('Reason').fill('Guesses passwords');
    await d.getByRole('button', { name: 'Save' }).click();
    await confirm();
    await page.locator('[data-ban^="198.51.100.7"]').waitFor();
    await shot('bans-1600');
    await page.getByRole('button', { name: /Lift the ban of 198\.51\.100\.7/ }).click();
    await confirm();
    await until('lifted', async () => !(await page.locator('[data-ban^="198.51.100.7"]').count()), 5000);
  });

  await attempt('disable', async () => {
    if (!other) throw new Error('nobody to disable');
    const q = other.pages()[0];
    await page.goto(base + '/people');
    await page.getByRole('button', { name, exact: true }).click();
    await page.getByRole('button', { name: 'Disable…' }).click();
    await axe('disable');
    await shot('disable-1600');
    await page.getByRole('button', { name: 'Disable', exact: true }).click();
    const t0 = Date.now();
    if (await confirm(400)) step('disable_confirmed', true);
    await q.waitForURL('**/login*', { timeout: 5000 });
    const ms = Date.now() - t0;
    step('disabled_to_out_ms', ms);
    if (ms > 2000) fail('disable', `${ms} ms until the other's pictures were gone`);
    await until('shown as disabled', async () => /Disabled/.test(await page.locator(`tr[data-person="${name}"]`).innerText()), 5000);
  });

  await attempt('audit', async () => {
    await page.goto(base + '/security/audit');
    await page.locator('tr[data-seq]').first().waitFor();
    await page.locator('.tree').waitFor();
    await page.waitForTimeout(400);
    await axe('audit');
    await shot('audit-1600');
    const all = await page.locator('tr[data-seq]').count();
    if (await page.getByRole('button', { name: 'Older' }).count()) {
      await page.getByRole('button', { name: 'Older' }).click();
      await until('older', async () => (await page.locator('tr[data-seq]').count()) > all, 5000);
    }
    await page.getByLabel('Person').fill(name);
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    const names = await until('one person only', async () => { const v = await page.locator('tr[data-seq] td:nth-child(3) b').allInnerTexts(); return v.length && v.every((x) => x === name) && v; }, 5000);
    step('audit', { all, of_second: names.length });
    await page.getByLabel('Action').fill('people.disable');
    await page.getByLabel('Person').fill('');
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await until('one action only', async () => { const v = await page.locator('tr[data-seq] td:nth-child(4)').allInnerTexts(); return v.length && v.every((x) => x === 'people.disable'); }, 5000);
    await page.locator('tr[data-seq] .x button').first().click();
    await page.locator('tr.more').waitFor();
    const diff = await page.locator('tr.more .diff').innerText().catch(() => '');
    step('audit_change', diff.replace(/\s+/g, ' '));
    if (!/active/.test(diff) || !/disabled/.test(diff)) fail('audit', `before and after are not shown: ${diff}`);
    await page.getByRole('button', { name: 'Prove it' }).click();
    await page.locator('.proof').waitFor();
    step('audit_proof', await page.locator('.proof').innerText());
    if (!/Proven here/.test(await page.locator('.proof').innerText())) fail('audit', 'the entry is not proven');
    await axe('audit, open');
    await shot('audit-open-1600');
    await page.getByRole('button', { name: 'Clear' }).click();
    await page.waitForURL('**/security/audit');
    const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export' }).click(), confirm()]);
    // Each line holds an entry or a checkpoint (design/0003-audit.md).
    const lines = readFileSync(await file.path(), 'utf8').trim().split('\n').map((l) => JSON.parse(l)).flatMap((l) => (l.entry ? [l.entry] : []));
    step('audit_export', { lines: lines.length, first: lines[0].seq, gapless: lines.every((l, i) => l.seq === lines[0].seq + i) });
    if (!lines.every((l, i) => l.seq === lines[0].seq + i) || JSON.stringify(lines).includes(password) || JSON.stringify(lines).includes(seed)) fail('audit', 'the export is not whole, or holds a secret');
  });

  await attempt('who on a phone', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    for (const [p, n] of [['/people', 'people'], ['/people/rights?role=viewer', 'rights'], ['/people/why', 'why'], ['/security', 'security'], ['/security/sessions', 'sessions'], ['/security/lists', 'lists'], ['/security/audit', 'audit']]) {
      await page.goto(base + p);
      await page.waitForTimeout(1200);
      await shot(n + '-390');
      await axe(n + ' 390');
      const wide = await page.evaluate(() => Math.max(document.documentElement.scrollWidth, document.getElementById('main')?.scrollWidth ?? 0) - innerWidth);
      if (wide > 0) fail('phone', `${p} is ${wide} px too wide`);
    }
    await page.setViewportSize({ width: 1600, height: 900 });
  });
  await attempt('who in light', async () => {
    await page.evaluate(() => (document.documentElement.dataset.theme = 'light'));
    for (const [p, n] of [['/people/rights?role=viewer', 'rights'], ['/security/audit', 'audit']]) {
      await page.goto(base + p);
      await page.waitForTimeout(800);
      await page.evaluate(() => (document.documentElement.dataset.theme = 'light'));
      await page.waitForTimeout(200);
      await axe(n + ', light');
      await shot(n + '-light-1600');
    }
  });

  await other?.close();
  if (profile) rmSync(profile, { recursive: true, force: true, maxRetries: 3 });
}

// The part of e2e.mjs about finding, enrolling, steering and looking after
// cameras: called with the page of a logged-in administrator and a site of
// devices that answer ONVIF discovery. One of them has another password.
//
//   --devices 12            how many there are
//   --network 127.40.0.0/28 where; without, those that answer by themselves
//   --device-user, --device-password, --odd-password   log-ins of all, and of the odd one
//   --lab http://127.0.0.1:PORT   levers: /swap makes one another camera and tells its address
/** What is waited for comes in seconds; where others hold the processor, later. */
const MOST = 90_000;

export async function cameras(t) {
  const { page, base, attempt, until, step, fail, axe, shot, tiles, opt } = t;
  page.setDefaultTimeout(MOST);
  const n = Number(opt.devices ?? 12);
  const dlg = page.locator('dialog.add[open]');
  const narrow = async (name) => {
    const wide = await page.evaluate(() => Math.max(document.documentElement.scrollWidth - innerWidth, ...[...document.querySelectorAll('dialog[open], .helm, .deck')].map((d) => d.scrollWidth - d.clientWidth)));
    if (wide > 0) fail(name, `${wide} px too wide at 390`);
  };
  const at390 = async (name) => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.evaluate(() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r))));
    await narrow(name);
    await axe(name + ' 390');
    await shot(name.replace(/\W+/g, '-') + '-390');
    await page.setViewportSize({ width: 1600, height: 900 });
  };
  /** confirm shows the second factor, if it is asked for before done() is true. */
  const confirm = async (done) => {
    const d = page.getByRole('dialog', { name: 'Show that it is you' });
    await until('done, or asked for a factor', async () => (await d.count()) || (await done()), MOST, 100);
    if (!(await d.count())) return;
    await d.getByLabel('Code from your authenticator app').fill(await t.code());
    await d.getByRole('button', { name: 'Confirm' }).click();
    await d.waitFor({ state: 'detached' });
  };
  const state = () => dlg.locator('li[data-state]').evaluateAll((l) => l.map((x) => ({ address: x.dataset.address, state: x.dataset.state })));
  const finished = async () => dlg.getByRole('button', { name: 'Done', exact: true }).count();

  await attempt('wizard', async () => {
    await page.goto(base + '/cameras?add');
    await dlg.waitFor();
    if (opt.network) {
      // A word that is no network is told before anything is asked.
      await dlg.getByLabel(/Also look in/).fill('10.300.0.0/8');
      await until('not searching', async () => dlg.getByRole('button', { name: 'Search again' }).isEnabled(), MOST);
      await dlg.getByRole('button', { name: 'Search again' }).click();
      await dlg.getByText('is no network').waitFor();
      await dlg.getByLabel(/Also look in/).fill(opt.network);
      await dlg.getByRole('button', { name: 'Search again' }).click();
    }
    const t0 = Date.now();
    const rows = dlg.locator('tbody tr[data-address]');
    await until(`${n} found`, async () => (await rows.count()) >= n, MOST);
    step('found_ms', Date.now() - t0);
    step('found', await rows.evaluateAll((l) => l.map((r) => [...r.cells].slice(1).map((c) => c.innerText.replace(/\s+/g, ' ').trim()).filter(Boolean).join(' | '))));
    await dlg.getByRole('checkbox', { name: 'Choose all that are not added yet' }).check();
    await until('search is over', async () => !(await dlg.locator('.run').count()), MOST);
    await axe('wizard, found');
    await shot('wizard-found-1600');
    await at390('wizard, found');
    await dlg.getByRole('button', { name: `Go on with ${n} cameras` }).click();

    await dlg.getByRole('radio', { name: 'Each its own' }).check();
    if ((await dlg.getByLabel(/^Password for /).count()) !== n) fail('wizard', 'not every camera has a password field of its own');
    await axe('wizard, each its log-in');
    await dlg.getByRole('radio', { name: /^One log-in/ }).check();
    await dlg.getByLabel('User name').fill(opt['device-user'] ?? 'admin');
    await dlg.getByLabel('Password', { exact: false }).and(dlg.locator('[name=camera-password]')).fill(opt['device-password'] ?? 'right');
    if (!(await dlg.getByLabel(/own password/).isChecked()) || !(await dlg.getByLabel(/browsers can play/).isChecked())) fail('wizard', 'what is safe is not switched on by itself');
    await axe('wizard, log-in');
    await shot('wizard-login-1600');
    await at390('wizard, log-in');
    const t1 = Date.now();
    await dlg.getByRole('button', { name: `Add ${n} cameras` }).click();
    await confirm(async () => dlg.locator('li[data-state]').count());
    await until('some are worked on', async () => (await state()).some((d) => d.state === 'working') || finished(), MOST);
    await axe('wizard, working');
    await shot('wizard-working-1600');
    // A page loaded again goes on watching.
    await page.reload();
    await until('all have ended', finished, 180000, 300);
    step('enrolled_ms', Date.now() - t1);
    const ended = await state();
    const bad = ended.filter((d) => d.state === 'failed');
    step('first_try', ended.map((d) => `${d.address}: ${d.state}`));
    if (bad.length !== 1) {
      step('whys', await dlg.locator('.why').allInnerTexts());
      fail('wizard', `${bad.length} failed at first, not the one with another password`);
    }
    const why = dlg.locator('.why').first();
    step('why', (await why.locator('strong, p').allInnerTexts()).join(' | '));
    await axe('wizard, one refused');
    await shot('wizard-refused-1600');
    await at390('wizard, one refused');
    await why.getByLabel(/^User name/).fill(opt['device-user'] ?? 'admin');
    await why.getByLabel(/^Password/).fill(opt['odd-password'] ?? 'another');
    await why.getByRole('button', { name: 'Try again' }).click();
    await until('nobody is refused', async () => { const s = await state(); return s.length >= n && s.every((d) => d.state === 'done'); }, MOST, 300);
    step('unsafe', await dlg.locator('p.un').allInnerTexts());
    if (!(await dlg.locator('p.un').count())) fail('wizard', 'what could not be made safe is not told');
    await dlg.locator('details summary').first().click();
    step('steps', (await dlg.locator('details[open] ol > li').allInnerTexts()).map((s) => s.replace(/\s*\n\s*/g, ' · ')));
    await axe('wizard, done');
    await shot('wizard-done-1600');
    await dlg.getByRole('button', { name: 'See them live' }).click();
    await page.waitForURL('**/live?*');
    const seen = await until('all are seen live', async () => { const v = await tiles(); return v.length >= n && v.every((x) => x.state === 'live' && Number(x.frames) >= 2) && v; }, MOST, 300);
    step('live', seen.map((x) => `${x.name}: ${x.transport} ${x.quality}`));
    await shot('wizard-live-1600');
    await page.goto(base + '/cameras?add');
    if (opt.network) {
      await dlg.getByLabel(/Also look in/).fill(opt.network);
      await until('not searching', async () => dlg.getByRole('button', { name: 'Search again' }).isEnabled(), MOST);
      await dlg.getByRole('button', { name: 'Search again' }).click();
    }
    await until('all are known as added', async () => (await dlg.getByText(/Added as/).count()) >= n, MOST);
    if (await dlg.getByRole('checkbox', { name: 'Choose all that are not added yet' }).isEnabled()) fail('wizard', 'what is added can be added again');
  });

  await attempt('steer', async () => {
    const bar = page.locator('section.helm');
    const pos = () => bar.locator('.pos').evaluate((e) => ({ pan: Number(e.dataset.pan), tilt: Number(e.dataset.tilt), zoom: Number(e.dataset.zoom), moving: e.dataset.moving === 'true' }));
    const still = async () => { let last = await pos(); return until('it stands', async () => { const p = await pos(); const same = !p.moving && p.pan === last.pan && p.tilt === last.tilt && p.zoom === last.zoom; last = p; return same && p; }, MOST, 700); };
    // The first that turns: the large tile says so by itself.
    const list = await page.evaluate(async () => (await (await fetch('/api/v1/cameras')).json()).cameras.map((c) => c.id));
    let id = '';
    for (const c of list) {
      const r = await page.evaluate(async (c) => (await fetch(`/api/v1/cameras/${c}/ptz`)).status, c);
      if (r === 200) { id = c; break; }
    }
    if (!id) throw new Error('no camera turns');
    // Alone on the wall: twelve pictures decoded by software are not what is tried here.
    await page.goto(base + '/live?layout=1&cam=' + id);
    const tile = page.locator(`article.tile[data-camera="${id}"]`);
    await until('the large tile is live', async () => (await tile.getAttribute('data-state')) === 'live' && (await tile.getAttribute('data-hero')) === 'true', MOST, 200);
    await tile.getByRole('button', { name: 'Steer' }).click();
    const aim = tile.locator('.aim');
    await aim.waitFor();
    await until('it tells where it looks', async () => bar.locator('.pos').count(), MOST);
    await axe('steer');
    const sum = async () => (await tiles(true)).find((x) => x.camera === id).sum;
    const before = await still();
    const look = await sum();
    const b = await aim.boundingBox();
    await page.mouse.click(b.x + b.width * 0.75, b.y + b.height * 0.35);
    await until('a click turns it there', async () => { const p = await pos(); return p.pan > before.pan + 0.005 && p.tilt > before.tilt; }, MOST, 100);
    const centred = await still();
    step('centred', { before, centred });
    await until('the picture is another', async () => (await sum()) !== look, MOST, 200);
    await page.mouse.move(b.x + b.width * 0.3, b.y + b.height * 0.3);
    await page.mouse.down();
    await page.mouse.move(b.x + b.width * 0.6, b.y + b.height * 0.6, { steps: 6 });
    await shot('ptz-box-1600');
    await page.mouse.up();
    await until('a box zooms in', async () => (await pos()).zoom > centred.zoom + 0.01, MOST, 100);
    const boxed = await still();
    await page.mouse.move(b.x + b.width / 2, b.y + b.height / 2);
    await page.mouse.wheel(0, 400);
    await until('the wheel zooms out', async () => (await pos()).zoom < boxed.zoom, MOST, 100);
    const wheeled = await still();
    await aim.focus();
    await page.keyboard.down('ArrowLeft');
    await until('an arrow turns it while held', async () => (await pos()).pan < wheeled.pan - 0.01, MOST, 100);
    await page.keyboard.up('ArrowLeft');
    const stood = await still();
    step('keys', { from: wheeled.pan, to: stood.pan });
    if (new URL(page.url()).pathname !== '/live') fail('steer', 'an arrow went back in time as well');
    await page.keyboard.down('+');
    await until('plus zooms', async () => (await pos()).zoom > stood.zoom, MOST, 100);
    await page.keyboard.up('+');
    await still();
    const presets = await bar.locator('[data-preset]').count();
    await bar.getByRole('button', { name: /Save this view/ }).click();
    await page.getByLabel('Save this view as').fill('By the trial');
    await axe('presets');
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await until('the preset is there', async () => (await bar.locator('[data-preset]').count()) > presets, MOST);
    await page.getByRole('button', { name: 'Close', exact: true }).click();
    const saved = await still();
    await bar.getByRole('button', { name: 'Left', exact: true }).click({ delay: 600 });
    await until('a button turns it', async () => Math.abs((await pos()).pan - saved.pan) > 0.01, MOST, 100);
    await still();
    await bar.getByRole('button', { name: 'By the trial' }).click();
    await until('the preset is gone to', async () => { const p = await pos(); return Math.abs(p.pan - saved.pan) < 0.01 && Math.abs(p.zoom - saved.zoom) < 0.02; }, MOST, 100);
    await still();
    await page.setViewportSize({ width: 390, height: 844 });
    await until('it still moves', async () => (await tile.getAttribute('data-state')) === 'live', MOST);
    const p0 = await still();
    await narrow('steer');
    // The helm lies under the thumb, whole.
    const low = await bar.boundingBox();
    if (low.y < 200 || low.y + low.height > 844) fail('steer', `at 390 the helm stands from ${low.y} to ${low.y + low.height}`);
    await axe('steer 390');
    await shot('ptz-390');
    await bar.getByRole('button', { name: 'Right', exact: true }).click({ delay: 400 });
    await until('a thumb turns it', async () => (await pos()).pan > p0.pan + 0.01, MOST, 100);
    await page.setViewportSize({ width: 1600, height: 900 });
    const home = bar.getByRole('button', { name: 'Home position' });
    if (await home.count()) {
      const p1 = await still();
      await home.click();
      await until('it goes home', async () => { const p = await pos(); return !p.moving && (Math.abs(p.pan - p1.pan) > 0.005 || Math.abs(p.zoom - p1.zoom) > 0.005); }, MOST, 200);
    }
    await page.getByRole('button', { name: 'Auto layout' }).click();
    await page.mouse.move(5, 500);
    await until('the others are there', async () => { const v = await tiles(); return v.length >= Math.min(n, 12) && v.every((x) => x.state === 'live' && Number(x.frames) >= 2); }, MOST, 300).catch(() => {});
    await shot('ptz-1600');
    await page.keyboard.press('Escape');
    await bar.waitFor({ state: 'detached' });
    await page.keyboard.press('p');
    await bar.waitFor();
    await page.keyboard.press('Escape');
  });

  await attempt('camera as a device', async () => {
    await page.goto(base + '/cameras');
    await page.locator('tbody tr[data-camera]').first().waitFor();
    const id = await page.evaluate(async () => {
      let best = '';
      for (const c of (await (await fetch('/api/v1/cameras')).json()).cameras) {
        const d = await (await fetch(`/api/v1/cameras/${c.id}/device`)).json();
        if (d.onvif && d.can.imaging && d.can.masks && !d.can.ptz) return c.id;
        if (d.onvif && d.can.imaging) best ||= c.id;
      }
      return best;
    });
    await page.goto(base + '/cameras/' + id);
    const d = page.locator('dialog.drawer[open]');
    await d.getByRole('tab', { name: 'Device' }).click();
    await d.getByText('What it is').waitFor();
    step('device', (await d.locator('dl').first().innerText()).replace(/\n/g, ' ').slice(0, 600));
    await axe('camera, device');
    await shot('camera-device-1600');
    await at390('camera, device');
    const looked = page.waitForResponse((r) => r.url().endsWith('/device/check'));
    await d.getByRole('button', { name: 'Look now' }).click();
    if (!(await looked).ok()) fail('camera as a device', 'it could not be looked at');
    const other = page.waitForResponse((r) => r.url().endsWith('/device/password') && r.status() !== 403);
    await d.getByRole('button', { name: /its own password|Change it again/ }).click();
    await confirm(async () => page.getByText('has a new password of its own').count());
    const pw = await other;
    if (pw.status() !== 204 && pw.status() !== 200) fail('camera as a device', `a new password: ${pw.status()}`);
    await d.getByText('has a new password of its own').waitFor();
    await d.getByText(/It has a password of its own/).waitFor();

    await d.getByRole('tab', { name: 'Picture' }).click();
    await until('its picture moves', async () => d.locator('.lv[data-state=moving]').count(), MOST);
    const slider = d.locator('input[type=range]').first();
    await slider.waitFor();
    const was = Number(await slider.inputValue());
    await slider.focus();
    const set = page.waitForResponse((r) => r.url().endsWith('/imaging') && r.request().method() === 'PATCH');
    await page.keyboard.press('ArrowRight');
    if (!(await set).ok()) fail('camera as a device', `imaging: ${(await set).status()} ${await (await set).text()}`);
    step('imaging', { was, is: Number(await slider.inputValue()) });
    await axe('camera, picture');
    if (await d.getByRole('button', { name: 'Draw a mask' }).count()) {
      await d.getByRole('button', { name: 'Draw a mask' }).click();
      const b = await d.locator('svg.over').boundingBox();
      for (const [x, y] of [[0.6, 0.2], [0.85, 0.2], [0.85, 0.5], [0.6, 0.5]]) await page.mouse.click(b.x + b.width * x, b.y + b.height * y);
      await d.getByRole('button', { name: 'Close the shape' }).click();
      const put = page.waitForResponse((r) => r.url().endsWith('/masks') && r.request().method() === 'PUT');
      await d.getByRole('button', { name: 'Set in the camera' }).click();
      const r = await put;
      if (!r.ok()) fail('camera as a device', `masks: ${r.status()} ${(await r.text()).slice(0, 200)}`);
      step('masks', await d.locator('polygon').count());
    }
    await shot('camera-picture-1600');
    await at390('camera, picture');
    await page.keyboard.press('Escape');
  });

  if (opt.lab)
    await attempt('another camera is refused until approved', async () => {
      const swapped = await (await fetch(opt.lab + '/swap')).json();
      const id = await page.evaluate(async (address) => {
        for (const c of (await (await fetch('/api/v1/cameras')).json()).cameras) {
          const d = await (await fetch(`/api/v1/cameras/${c.id}/device`)).json();
          if (d.onvif && new URL(d.address).hostname === address) return c.id;
        }
        return '';
      }, swapped.address);
      if (!id) throw new Error(`no camera at ${swapped.address}`);
      await page.goto(base + '/cameras/' + id);
      const d = page.locator('dialog.drawer[open]');
      await d.getByRole('tab', { name: /Device/ }).click();
      const approve = d.getByRole('button', { name: 'Approve the new camera' });
      await until('it is told as another one', async () => {
        if (await approve.count()) return true;
        const b = d.getByRole('button', { name: 'Look now' });
        if (await b.isEnabled()) await b.click();
        return false;
      }, MOST, 1000);
      step('swapped', (await d.locator('section.alarm').innerText()).replace(/\s*\n\s*/g, ' | ').slice(0, 500));
      await axe('another camera');
      await shot('camera-swapped-1600');
      await at390('another camera');
      // Streams and device are looked at apart: where the second look comes
      // after the approval of what the first saw, it is told once more.
      let approvals = 0;
      const trusted = async () => (await d.getByText('the camera that was enrolled').count()) > 0;
      await until('it is trusted', async () => {
        if (await trusted()) return true;
        if (approvals < 2 && (await approve.count()) && (await approve.isEnabled())) {
          approvals++;
          const answered = page.waitForResponse((r) => r.url().endsWith('/device/approve') && r.ok());
          await approve.click();
          await page.getByRole('button', { name: 'Approve', exact: true }).click();
          let done = false;
          void answered.then(() => (done = true), () => {});
          await confirm(async () => done);
          await answered;
        }
        return false;
      }, MOST, 300);
      step('approvals', approvals);
      await page.keyboard.press('Escape');
    });
}

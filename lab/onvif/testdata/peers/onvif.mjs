// Drives a device with the npm client "onvif" and prints what it saw as JSON.
// Arguments: host, port, user, password. With "discover" instead: what it finds.
import { promisify } from 'node:util'
import { createRequire } from 'node:module'
const { Cam, Discovery } = createRequire(import.meta.url)('onvif')

const out = {}
const [what, port, username, password] = process.argv.slice(2)
if (what === 'discover') {
  Discovery.on('error', () => {})
  Discovery.probe({ timeout: 3000, resolve: false, device: 'lo', bufferSize: 4 << 20 }, (err, found) => {
    console.log(JSON.stringify({ error: err && String(err), found: found.map(f => f.probeMatches.probeMatch.XAddrs) }))
  })
} else {
  const cam = await new Promise((yes, no) => { const c = new Cam({ hostname: what, port, username, password, timeout: 20000 }, e => e ? no(e) : yes(c)) })
  const ask = (name, ...args) => promisify(cam[name]).call(cam, ...args)
  out.info = await ask('getDeviceInformation')
  out.profiles = cam.profiles.map(p => p.$.token)
  out.uri = (await ask('getStreamUri', { protocol: 'RTSP', profileToken: out.profiles[0] })).uri
  out.snapshot = (await ask('getSnapshotUri', { profileToken: out.profiles[0] })).uri
  await ask('absoluteMove', { x: 0.5, y: 0.25, zoom: 0.5 })
  const rest = async () => {
    for (;;) {
      const s = await ask('getStatus', {})
      if (s.moveStatus.panTilt === 'IDLE' && s.moveStatus.zoom === 'IDLE') return s
      await new Promise(r => setTimeout(r, 100))
    }
  }
  out.moved = (await rest()).position
  await ask('setPreset', { presetName: 'gate' })
  out.presets = await ask('getPresets', {})
  await ask('relativeMove', { x: -0.5, y: 0, zoom: 0 })
  out.relative = (await rest()).position
  await ask('continuousMove', { x: 1, y: 0, zoom: 0, timeout: 20000 })
  await ask('stop', { panTilt: true, zoom: true })
  out.stopped = (await rest()).position
  await ask('gotoPreset', { preset: out.presets.gate.$.token })
  out.back = (await rest()).position
  await ask('gotoHomePosition', {})
  out.home = (await rest()).position
  await ask('removePreset', { presetToken: out.presets.gate.$.token })
  out.imaging = await ask('getImagingSettings', {})
  await ask('setImagingSettings', { brightness: 70 })
  out.brighter = (await ask('getImagingSettings', {})).brightness
  out.users = (await ask('getUsers')).map(u => u.username)
  out.event = await new Promise((yes, no) => {
    cam.on('event', m => { if (JSON.stringify(m).includes('DigitalInput')) yes(m) })
    cam.on('eventsError', no)
  })
  cam.removeAllListeners('event')
  console.log(JSON.stringify(out))
  process.exit(0)
}

// Drives a device with the npm client "node-onvif" and prints what it saw as
// JSON. Arguments: device service URL, user, password. With "discover"
// instead: what it finds.
import { createRequire } from 'node:module'
const onvif = createRequire(import.meta.url)('node-onvif')

const [what, user, pass] = process.argv.slice(2)
if (what === 'discover') {
  const found = await onvif.startProbe()
  console.log(JSON.stringify({ found: found.map(f => f.xaddrs.join(' ')) }))
  process.exit(0)
}
const out = {}
const d = new onvif.OnvifDevice({ xaddr: what, user, pass })
out.info = await d.init()
out.profiles = d.getProfileList().map(p => p.token)
out.stream = d.getUdpStreamUrl()
out.snapshot = (await d.fetchSnapshot()).body.length
const token = d.getCurrentProfile().token
const ptz = d.services.ptz
const rest = async () => {
  for (;;) {
    const s = (await ptz.getStatus({ ProfileToken: token })).data.GetStatusResponse.PTZStatus
    if (s.MoveStatus.PanTilt === 'IDLE' && s.MoveStatus.Zoom === 'IDLE') return s.Position
    await new Promise(r => setTimeout(r, 100))
  }
}
await ptz.absoluteMove({ ProfileToken: token, Position: { x: -0.5, y: 0.25, z: 0.5 }, Speed: { x: 1, y: 1, z: 1 } })
out.moved = (await rest()).PanTilt.$.x
await ptz.setPreset({ ProfileToken: token, PresetName: 'yard' })
out.presets = (await ptz.getPresets({ ProfileToken: token })).data.GetPresetsResponse.Preset
await d.ptzMove({ speed: { x: 1, y: 0, z: 0 }, timeout: 20 })
await d.ptzStop()
out.stopped = (await rest()).PanTilt.$.x
await ptz.gotoPreset({ ProfileToken: token, PresetToken: out.presets.$.token, Speed: { x: 1, y: 1, z: 1 } })
out.back = (await rest()).PanTilt.$.x
out.properties = Object.keys((await d.services.events.getEventProperties()).data.GetEventPropertiesResponse.TopicSet)
console.log(JSON.stringify(out))
process.exit(0)

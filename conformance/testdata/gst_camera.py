"""A camera of foreign make: GStreamer's RTSP server.

gst_camera.py PORT plain|digest|tls|srtp h264|h265 PICTURES [CERTIFICATE_AND_KEY.pem]

srtp is tls, and RTP/SAVP only: packets encrypted under keys told by MIKEY.

The first viewer gets PICTURES pictures from the moment it plays, then the end:
the camera goes away, and says how many pictures left it.
"""
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

Gst.init(None)
port, mode, codec, pictures = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4]
server = GstRtspServer.RTSPServer()
server.set_service(port)
server.set_address("127.0.0.1")
coder = {
    "h264": "x264enc tune=zerolatency key-int-max=25 speed-preset=ultrafast ! rtph264pay name=pay0 pt=96",
    "h265": "x265enc tune=zerolatency key-int-max=25 speed-preset=ultrafast ! rtph265pay name=pay0 pt=96",
}[codec]
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true num-buffers=%s ! video/x-raw,width=320,height=240,framerate=25/1 ! %s config-interval=-1 )"
    % (pictures, coder)
)
factory.set_shared(False)
if mode == "digest":
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(2)  # GST_RTSP_AUTH_DIGEST
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_digest("user", "secret", token)
    server.set_auth(auth)
    factory.add_role_from_structure(
        Gst.Structure.new_from_string("user,media.factory.access=(boolean)true,media.factory.construct=(boolean)true")
    )
if mode == "srtp":
    factory.set_profiles(GstRtsp.RTSPProfile.SAVP)
if mode in ("tls", "srtp"):
    auth = GstRtspServer.RTSPAuth()
    auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(sys.argv[5]))
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "anonymous")
    auth.set_default_token(token)
    server.set_auth(auth)
    factory.add_role_from_structure(
        Gst.Structure.new_from_string("anonymous,media.factory.access=(boolean)true,media.factory.construct=(boolean)true")
    )
loop = GLib.MainLoop()
sent = set()


def count(_, info):
    if info.type & Gst.PadProbeType.BUFFER_LIST:
        buffers = info.get_buffer_list()
        for i in range(buffers.length()):
            sent.add(buffers.get(i).pts)
    else:
        sent.add(info.get_buffer().pts)
    return Gst.PadProbeReturn.OK


def configure(_, media):
    media.connect("unprepared", lambda *_: loop.quit())
    pay = media.get_element().get_by_name("pay0")
    pay.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER | Gst.PadProbeType.BUFFER_LIST, count)


factory.connect("media-configure", configure)
server.get_mount_points().add_factory("/cam", factory)
if not server.attach(None):
    sys.exit("the port %s is taken" % port)
print("ready", flush=True)
loop.run()
print(len(sent), flush=True)

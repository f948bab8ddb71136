#!/bin/sh
# Installs the foreign programs that tests speak to (Debian and its kin), where
# they are missing. Everything here is a test peer; the product needs none.
set -eu
want=""
need() { # program or file, package ...
  what=$1; shift
  case $what in
    /*) [ -e "$what" ] || want="$want $*" ;;
    *)  command -v "$what" >/dev/null 2>&1 || want="$want $*" ;;
  esac
}
need ffmpeg ffmpeg
need ffprobe ffmpeg
need chromium chromium fonts-dejavu-core
need gst-launch-1.0 gstreamer1.0-tools
need cvlc vlc-bin vlc-plugin-base
need git git
need softhsm2-util softhsm2
need tshark tshark
need ip iproute2
need unshare util-linux
need curl curl ca-certificates
need openssl openssl
arch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
need "/usr/lib/$arch/girepository-1.0/GstRtspServer-1.0.typelib" gir1.2-gst-rtsp-server-1.0 python3-gi
need "/usr/lib/$arch/gstreamer-1.0/libgstx264.so" gstreamer1.0-plugins-ugly
need "/usr/lib/$arch/gstreamer-1.0/libgstvideoparsersbad.so" gstreamer1.0-plugins-bad
need "/usr/lib/$arch/gstreamer-1.0/libgstsrtp.so" gstreamer1.0-plugins-bad
need "/usr/lib/$arch/gstreamer-1.0/libgstrtp.so" gstreamer1.0-plugins-good
need "/usr/lib/$arch/gstreamer-1.0/libgstlibav.so" gstreamer1.0-libav
need /usr/lib/python3/dist-packages/gi python3-gi
need /usr/sbin/rsyslogd rsyslog
need "/usr/lib/$arch/rsyslog/lmnsd_gtls.so" rsyslog-gnutls
[ -z "$want" ] && exit 0
echo "installing test peers:$want"
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
if ! command -v apt-get >/dev/null 2>&1; then
  echo "this system has no apt-get: install the Debian packages named above, or their kin, by hand" >&2
  exit 1
fi
$sudo apt-get update -qq
# A second try: dpkg's lock is sometimes held for a moment on fresh machines.
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $want >/dev/null ||
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $want

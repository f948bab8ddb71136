package camera

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/rtp"
	"github.com/bartizan-vms/bartizan/wire/rtsp"
	"github.com/bartizan-vms/bartizan/wire/sdp"
)

// How long a probe looks.
const (
	probeTime = 3 * time.Second
	probeKey  = 7 * time.Second // when no key picture came by then
)

// What a person is told of.
const (
	longKeys   = 4500 * time.Millisecond
	wrongClock = 2 * time.Second
)

// errSeen ends a probe's reading.
var errSeen = errors.New("seen enough")

// probe looks at a stream for a while.
type probe struct {
	m            *Manager
	client       *rtsp.Client
	expired      time.Time // the certificate, if it is
	pinned       bool
	quick        bool // the first picture is enough
	tracks       []*track
	began        time.Time
	now          time.Duration // since began
	still        *media.Unit
	track        media.Track // of still
	pictures     int
	bytes        int64
	first, last  int64 // picture times, ticks
	keyAt        []int64
	offset       time.Duration
	offsetKnown  bool
	firstPacket  time.Duration
	reordered    bool
	latestInTime int64
}

// Probe asks an address what it would give.
func (m *Manager) Probe(ctx context.Context, q vms.ProbeRequest) (_ vms.Probed, err error) {
	defer m.caught("being probed", &err)
	a, err := parseURL(q.URL)
	if err != nil {
		return vms.Probed{}, err
	}
	if q.Username == "" && q.Password == "" {
		q.Username, q.Password = a.username, a.password
	}
	if err := checkUser(q.Username, q.Password); err != nil {
		return vms.Probed{}, err
	}
	t := target{url: a.url, username: q.Username}
	if t.transport, err = checkTransport(q.Transport); err != nil {
		return vms.Probed{}, err
	}
	if t.pin, err = checkPin(q.Pin); err != nil {
		return vms.Probed{}, err
	}
	return m.observe(ctx, t, a, security.Secret(q.Password), false)
}

// look is a probe that ends with the first picture: it measures nothing, and
// does not take as long.
func (m *Manager) look(ctx context.Context, address, username string, password security.Secret, pin string) (_ vms.Probed, err error) {
	defer m.caught("being tried", &err)
	a, err := parseURL(address)
	if err != nil {
		return vms.Probed{}, err
	}
	return m.observe(ctx, target{url: a.url, username: username, transport: vms.TransportAuto, pin: pin}, a, password, true)
}

// observe watches what comes from a camera for a while.
func (m *Manager) observe(ctx context.Context, t target, a address, password security.Secret, quick bool) (vms.Probed, error) {
	var err error
	out := vms.Probed{URL: a.url, Transport: vms.TransportTCP}
	var expired time.Time
	trusted := func(cs tls.ConnectionState) {
		out.CertTrusted = trusts(cs, a.host)
		if leaf := cs.PeerCertificates[0]; m.cfg.Clock.Now().Time().After(leaf.NotAfter) {
			expired = leaf.NotAfter
		}
	}
	ctx, cancel := context.WithTimeout(ctx, openTime+probeKey)
	defer cancel()
	client, info, err := m.openWith(ctx, t, password, trusted, func(string) error { return nil })
	if err != nil {
		return vms.Probed{}, probeFault(err)
	}
	defer client.Close()
	if sum, ok := client.CertificateSHA256(); ok {
		out.Secure, out.CertSHA256 = true, hex.EncodeToString(sum[:])
	}
	if info.Transport == rtsp.UDP {
		out.Transport = vms.TransportUDP
	}
	if moved, err := parseURL(client.URL()); err == nil {
		out.URL = moved.url
	}
	p := &probe{m: m, client: client, expired: expired, pinned: t.pin != "", quick: quick, began: time.Now()}
	if p.tracks, err = openTracks(client.Description(), info, p.unit); err != nil {
		return vms.Probed{}, probeFault(err)
	}
	timer := time.AfterFunc(probeKey, cancel)
	defer timer.Stop()
	if err := client.Read(ctx, p.packet); err != nil && !errors.Is(err, errSeen) && len(p.tracks) > 0 && !p.seen() {
		return vms.Probed{}, probeFault(err)
	}
	if !p.seen() {
		if err := ctx.Err(); err != nil && !errors.Is(err, context.Canceled) {
			return vms.Probed{}, probeFault(err)
		}
		return vms.Probed{}, fault.New(fault.Unavailable, "the camera is connected but sends nothing that can be shown", "choose TCP transport if UDP is set, or restart the camera")
	}
	p.fill(&out)
	p.notes(&out)
	return out, nil
}

// probeFault is err with the words of a camera's trouble.
func probeFault(err error) error {
	var other *otherCertificate
	if errors.As(err, &other) {
		return other.fault()
	}
	return err
}

// trusts tells whether the machine's authorities vouch for the host.
func trusts(cs tls.ConnectionState, host string) bool {
	if len(cs.PeerCertificates) == 0 {
		return false
	}
	o := x509.VerifyOptions{DNSName: host, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(o)
	return err == nil
}

func (p *probe) seen() bool {
	for _, t := range p.tracks {
		if t.seen {
			return true
		}
	}
	return false
}

func (p *probe) video() *track {
	for _, t := range p.tracks {
		if t.kind == media.VideoTrack {
			return t
		}
	}
	return nil
}

func (p *probe) packet(section int, control bool, pkt []byte, at time.Time) (err error) {
	defer p.m.caught("being probed", &err)
	p.now = at.Sub(p.began)
	if p.firstPacket == 0 {
		p.firstPacket = p.now
	}
	for _, t := range p.tracks {
		if t.section != section {
			continue
		}
		if control {
			bye, _ := rtp.ReadRTCP(pkt, func(r rtp.Report) {
				if !p.offsetKnown || t.kind == media.VideoTrack {
					p.offset, p.offsetKnown = r.NTP.Sub(p.m.cfg.Clock.Now()), true
				}
			})
			if bye {
				return errBye
			}
		} else {
			p.bytes += int64(len(pkt))
			t.push(pkt, p.now)
		}
	}
	if age := p.now - p.firstPacket; age >= probeKey || p.quick && p.still != nil || age >= probeTime && (p.still != nil || p.video() == nil) {
		return errSeen
	}
	return nil
}

func (p *probe) unit(t *track, u media.Unit) {
	t.seen = true
	if t.kind != media.VideoTrack {
		return
	}
	if p.pictures == 0 {
		p.first, p.last, p.latestInTime = u.PTS, u.PTS, u.PTS
	}
	p.reordered = p.reordered || u.PTS < p.latestInTime
	p.latestInTime = max(p.latestInTime, u.PTS)
	p.first, p.last = min(p.first, u.PTS), max(p.last, u.PTS)
	p.pictures++
	if u.Key {
		p.keyAt = append(p.keyAt, u.PTS)
		if p.still == nil {
			p.still, p.track = &u, t.dep.Track()
		}
	}
}

// lost is the camera's first sound, unless one is taken.
func (p *probe) lost() (sound sdp.Media, ok bool) {
	for i, m := range p.client.Description().Media {
		if m.Type != "audio" {
			continue
		}
		if slices.ContainsFunc(p.tracks, func(t *track) bool { return t.section == i }) {
			return sdp.Media{}, false
		}
		if !ok {
			sound, ok = m, true
		}
	}
	return sound, ok
}

// fill writes down what was measured.
func (p *probe) fill(out *vms.Probed) {
	for _, t := range p.tracks {
		switch {
		case t.kind == media.VideoTrack:
			out.Description.Video = t.dep.Track()
		case t.seen:
			out.Description.Audio = t.dep.Track()
		}
	}
	out.ClockOffset, out.ClockKnown = p.offset, p.offsetKnown
	span := p.now - p.firstPacket
	if v := p.video(); v != nil {
		if took := timebase.FromTicks(p.last-p.first, v.rate).Duration(); took > 0 && p.pictures > 1 {
			out.FrameRate = math.Round(float64(p.pictures-1)/took.Seconds()*100) / 100
			// A group sent at once after connecting is older than the connection.
			span = max(span, took)
		}
		if n := len(p.keyAt); n > 1 {
			out.KeyEvery = timebase.FromTicks((p.keyAt[n-1]-p.keyAt[0])/int64(n-1), v.rate).Duration()
		}
		if p.reordered && out.Description.Video.Reorder == 0 {
			out.Description.Video.Reorder = 1
		}
	}
	if span > 0 {
		out.Bitrate = int64(float64(p.bytes*8) / span.Seconds())
	}
	if p.still != nil {
		if b, err := fmp4.Still(p.track, *p.still); err == nil {
			out.Still = b
		}
	}
}

// notes says what a person should know, in plain words.
func (p *probe) notes(out *vms.Probed) {
	note := func(format string, args ...any) { out.Notes = append(out.Notes, fmt.Sprintf(format, args...)) }
	v := out.Description.Video
	if !out.Secure {
		note("The connection is not encrypted: whoever is in the network between can watch. Use rtsps:// if the camera offers it.")
	} else if !out.CertTrusted && !p.pinned {
		note("No authority this machine knows vouches for the camera's certificate. Compare its fingerprint with the camera's own pages; once added, any other certificate is refused.")
	}
	if !p.expired.IsZero() {
		note("The camera's certificate ended on %s. Renew it in the camera's own pages.", p.expired.UTC().Format("2 January 2006"))
	}
	if v.Reorder > 0 {
		note("The stream has B-frames: live view takes a way with a little more delay. Switch B-frames off in the camera for the quickest picture.")
	}
	if v.Codec == media.H265 {
		note("H.265 does not play in every browser. Where it does not, H.264 in the camera's settings helps, or an H.264 second stream.")
	}
	if p.video() == nil {
		note("The stream has sound only.")
	} else if p.still == nil {
		note("No key picture came within %d seconds, so there is no preview. Set the camera's distance of key pictures (GOP) to 2 seconds.", probeKey/time.Second)
	} else if after := timebase.FromTicks(p.last-p.keyAt[0], p.video().rate).Duration(); out.KeyEvery > longKeys || out.KeyEvery == 0 && after > longKeys {
		note("Key pictures are %.0f seconds apart or more: seeking is coarse. Set the camera's distance of key pictures (GOP) to 2 seconds.", max(out.KeyEvery, after).Seconds())
	}
	if sound, ok := p.lost(); ok && sound.Track.Codec == media.Unknown {
		note("The sound is coded as %s, which is not supported; the picture comes without sound. Choose AAC, Opus or G.711 in the camera.", codecName(sound))
	} else if ok {
		note("The sound's description cannot be understood; the picture comes without sound. Choose AAC-LC, Opus or G.711 in the camera.")
	}
	if off := out.ClockOffset; out.ClockKnown && off.Abs() > wrongClock {
		way := "ahead"
		if off < 0 {
			way = "behind"
		}
		note("The camera's clock is %s %s. Recordings keep this node's time, but a time shown in the picture is wrong; give the camera a time server.", about(off.Abs()), way)
	}
}

// about is a duration as a person says it.
func about(d time.Duration) string {
	n, unit := int64(d.Round(time.Second)/time.Second), "second"
	for _, u := range []struct {
		size int64
		name string
	}{{60, "minute"}, {60, "hour"}, {24, "day"}, {365, "year"}} {
		if n < 2*u.size {
			break
		}
		n, unit = n/u.size, u.name
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

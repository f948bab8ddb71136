package node

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/api/viewers"
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/service"
	"github.com/bartizan-vms/bartizan/console"
	"github.com/bartizan-vms/bartizan/engine/disk"
	"github.com/bartizan-vms/bartizan/engine/ffmpeg"
	"github.com/bartizan-vms/bartizan/engine/sqlite"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/access"
	"github.com/bartizan-vms/bartizan/security/authentication"
	"github.com/bartizan-vms/bartizan/security/confidentiality"
	"github.com/bartizan-vms/bartizan/security/intrusion"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/vms/camera"
	"github.com/bartizan-vms/bartizan/vms/live"
	"github.com/bartizan-vms/bartizan/vms/playback"
	"github.com/bartizan-vms/bartizan/vms/recording"
	"github.com/bartizan-vms/bartizan/vms/storage"
	"github.com/bartizan-vms/bartizan/vms/stream"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/webrtc"
)

// house is a furnished node.
type house struct {
	closers   closers
	group     service.Group
	people    *authentication.Service
	authority *authentication.Authority
}

// close frees what was opened, after every part has ended.
func (h *house) close() { _ = h.closers.close() }

// database is where state, index and keys' wrappings are.
func database(data string) string { return filepath.Join(data, "state", "bartizan.db") }

// furnish opens the data folder and introduces everybody: the one list of who
// gets what.
func (n *Node) furnish(ctx context.Context, d *doors) (_ *house, err error) {
	h := &house{}
	defer func() {
		if err != nil {
			h.close()
		}
	}()

	// The ground: files (with the folder's lock), database, keys.
	files, err := disk.Open(n.cfg.Data)
	if err != nil {
		return nil, err
	}
	h.closers = append(h.closers, files)
	if err := os.MkdirAll(filepath.Dir(database(n.cfg.Data)), 0o700); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the data folder cannot be written", "give another with --data")
	}
	db, err := sqlite.Open(ctx, database(n.cfg.Data))
	if err != nil {
		return nil, err
	}
	h.closers = append(h.closers, db)
	keys, err := openKeys(ctx, n.cfg.Data, db, n.clock, n.cfg.Keys.Keep(os.Stdin), true)
	if err != nil {
		return nil, err
	}

	// Security.
	trail, err := n.trail(ctx, h, db, keys)
	if err != nil {
		return nil, err
	}
	guard, err := intrusion.New(ctx, intrusion.Config{
		Store: db.Intrusion(), Trail: trail, Clock: n.clock, Loopback: n.cfg.Intrusion.Loopback,
		Tell: func(what string) { n.log.Info(what, "where", "intrusion") },
	})
	if err != nil {
		return nil, err
	}
	if h.authority, err = authentication.NewAuthority(authentication.AuthorityConfig{
		Dir: n.cfg.Data, Sealer: keys, Clock: n.clock, Names: hosts(n.cfg.Names), Listen: n.cfg.Listen,
		CertFile: n.cfg.TLS.Certificate, KeyFile: n.cfg.TLS.Key,
	}); err != nil {
		return nil, err
	}
	options := []authentication.Option{authentication.Hosts(h.authority.Vouches)}
	if n.cfg.People.ApproveDevices {
		options = append(options, authentication.ApproveDevices())
	}
	if h.people, err = authentication.New(ctx, db.People(), keys, n.clock, options...); err != nil {
		return nil, err
	}
	machines, err := authentication.NewDevices(ctx, db.People(), h.people, h.authority, n.clock)
	if err != nil {
		return nil, err
	}
	company, err := n.company(h.people)
	if err != nil {
		return nil, err
	}
	policy, err := access.New(ctx, access.Config{Store: db.Rights(), People: h.people, Trail: trail, Clock: n.clock})
	if err != nil {
		return nil, err
	}
	// Allow and deny lists come first at each door, then bans.
	listed := func(iface string, l net.Listener) net.Listener {
		if l == nil {
			return nil
		}
		return policy.Listener(iface, l)
	}
	d.https = n.gate(listed("https", d.https), guard, true)
	d.rtsps, d.rtsp = n.gate(listed("rtsp", d.rtsps), guard, false), n.gate(listed("rtsp", d.rtsp), guard, false)

	// Video.
	hub := stream.New()
	cameras, err := camera.New(ctx, camera.Config{
		Store: db.Cameras(), Devices: db.Devices(), Trail: trail, Sealer: keys, Publisher: hub, Clock: n.clock, Record: n.cfg.Cameras.Record(), Keep: n.cfg.Cameras.Keep(),
		Journal: n.tell, UserAgent: "Bartizan",
	})
	if err != nil {
		return nil, err
	}
	total, _, err := files.Space()
	if err != nil {
		return nil, err
	}
	store, err := storage.New(ctx, storage.Config{
		Files: files, Index: db, Keys: keys, Cipher: confidentiality.Cobblestone{}, Clock: n.clock,
		Keep:    func(id vms.CameraID) vms.Keep { return n.keep(ctx, cameras, db.Cameras(), id) },
		Tell:    func(err error) { n.log.Warn(err.Error(), "where", "storage") },
		MinFree: int64(float64(total) / 100 * n.cfg.Storage.MinFreePercent), MaxBytes: n.cfg.Storage.MaxBytes,
	})
	if err != nil {
		return nil, err
	}
	archive := store.Archive()
	recorder := recording.New(recording.Config{Cameras: cameras, Streams: hub, Recorder: store, Clock: n.clock, Journal: n.tell})
	var decoder vms.Decoder
	if f, err := ffmpeg.Find(); err == nil {
		decoder = f
		if !f.Walled() {
			n.log.Warn("this kernel does not let the picture decoder run without network", "where", "ffmpeg")
		}
	} else {
		n.log.Info("no ffmpeg on this machine: stills are given as MP4 only", "where", "ffmpeg")
	}
	player := playback.New(archive, decoder)
	rtc, err := n.webRTC(d.webrtc, guard)
	if err != nil {
		return nil, err
	}
	watching := live.New(live.Config{Streams: hub, WebRTC: rtc})

	// Faces.
	pulled, err := viewers.New(viewers.Config{
		Auth: h.people, Access: policy, Trail: trail, Streams: hub, Archive: archive, Clock: n.clock, Guard: guard,
		Log: func(remote, event string) { n.log.Debug(event, "where", "rtsp", "remote", remote) },
	})
	if err != nil {
		return nil, err
	}
	handler, err := api.New(api.Config{
		Auth: h.people, Access: policy, Rights: policy, Trail: trail, AuditLog: trail, Cameras: cameras, Archive: archive, Playback: player, Live: watching,
		System: n.system(cameras, db.Cameras(), archive, decoder != nil), Health: n.health, MIME: fmp4.MIME,
		Persons: h.people, Passkeys: h.people, Company: company, Devices: machines, Equipment: cameras,
		Guard: guard, Inspector: n.inspector(), Keys: keys,
		Console: console.Handler(), Log: n.log, Clock: n.clock, Version: n.version,
		PortRTSPS: port(d.rtsps), PortRTSP: port(d.rtsp),
	})
	if err != nil {
		return nil, err
	}

	// Those that take from others start after them; all end together, and each
	// hands on what it holds before it returns.
	h.group.Add("intrusion", guard)
	h.group.Add("doors", service.Func(func(ctx context.Context) error { return n.enforce(ctx, guard, d.https) }))
	h.group.Add("storage", store)
	h.group.Add("authority", h.authority)
	h.group.Add("people", h.people)
	h.group.Add("rights", policy)
	h.group.Add("recording", recorder)
	h.group.Add("live", watching)
	h.group.Add("cameras", cameras)
	h.group.Add("viewers", service.Func(func(ctx context.Context) error { return pulled.Run(ctx, d.viewers(h.authority)...) }))
	h.group.Add("console", n.serveHTTPS(d.https, n.clients(h.authority.TLS(), machines), handler, guard))
	h.group.Add("demo", n.demo(cameras))
	return h, nil
}

// keep is how long a camera's recordings stay: as the camera says, as it said
// when it was removed, else as new ones do.
func (n *Node) keep(ctx context.Context, cameras vms.Cameras, db *sqlite.Cameras, id vms.CameraID) vms.Keep {
	if c, err := cameras.Get(ctx, id); err == nil {
		return c.Keep
	}
	if gone, err := db.Removed(ctx); err == nil {
		for _, c := range gone {
			if c.ID == id {
				return c.Keep
			}
		}
	}
	return n.cfg.Cameras.Keep()
}

func (n *Node) webRTC(listen string, guard security.Guard) (*webrtc.Server, error) {
	if listen == "" {
		return nil, nil
	}
	c := webrtc.Config{Listen: listen, AnyPort: n.cfg.WebRTC.Listen == "auto", Admit: guard.Admit}
	for _, a := range n.cfg.WebRTC.Addresses {
		ip, err := netip.ParseAddr(a)
		if err != nil {
			return nil, err // Check has seen it
		}
		c.Public = append(c.Public, ip)
	}
	return webrtc.New(c)
}

// tell takes what rooms find wrong.
func (n *Node) tell(where, what string) { n.log.Warn(what, "where", where) }

func (n *Node) health(context.Context) error {
	if !n.healthy.Load() {
		return fault.New(fault.Unavailable, "the node is starting or ending", "")
	}
	return nil
}

// process is this process's CPU time and memory, as the kernel counts them.
func process() (cpu time.Duration, rss int64) {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) == nil {
		cpu = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			if pages, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				rss = pages * int64(os.Getpagesize())
			}
		}
	}
	return cpu, rss
}

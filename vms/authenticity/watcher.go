package authenticity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

const (
	quiet    = timebase.Wall(time.Minute) // what goes on, or begins again so soon, is one alarm
	near     = timebase.Wall(time.Second) // stretches no further apart are one
	keepTime = 5 * time.Second            // bounds writing down
	// A camera that signs has stopped when its signatures stay away for twice
	// the longest wait seen, and at least this long.
	silence = 5 * time.Second
	goneBy  = 2 * time.Second // a claim earlier by more than this is of an earlier time
)

// stretch is what makes two stretches one.
type stretch struct {
	verdict vms.Verdict
	message string
}

// watcher verifies one stream. All belongs to the goroutine of run.
type watcher struct {
	r      *Room
	id     vms.StreamID
	name   string
	cancel context.CancelFunc
	done   chan struct{}

	signer   vms.Signer
	known    bool // signer is pinned
	accepted int
	unkept   bool // signer differs from the store's

	codec    media.Codec           // of the run; Unknown: none that can be signed
	verifier *signedvideo.Verifier // nil until a signature is seen or expected
	last     timebase.Wall         // of the newest sample
	period   timebase.Wall         // between the last two
	signed   timebase.Wall         // of the newest signature, or the run's begin
	wait     timebase.Wall         // longest between two signatures
	counted  int64                 // of the report's uncovered
	keys     [16]timebase.Wall     // the latest key pictures, a ring
	nkeys    int
	earlier  string // why this run's pictures are of an earlier time; "" if they are not
	claimed  bool   // this run has claimed a time
	other    string // why this run's signer is not the pinned one
	open     map[stretch]*vms.Authentic
	alarmed  map[vms.Verdict]timebase.Wall // until when somebody was told of
	kept     timebase.Wall
}

func (w *watcher) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// run verifies until ctx is done or the stream is forgotten.
func (w *watcher) run(ctx context.Context) {
	defer w.end()
	for ctx.Err() == nil {
		err := w.recall(ctx)
		if err == nil {
			var sub vms.Subscription
			if sub, err = w.r.cfg.Streams.Subscribe(w.id, vms.SubscribeOptions{Cached: true, Lazy: lazy}); err == nil {
				err = w.read(ctx, sub)
				sub.Close()
				if ctx.Err() == nil && !fault.Is(err, fault.NotFound) {
					return // forgotten
				}
			}
		}
		t := time.NewTimer(tryAgain)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// recall reads who signed this stream before.
func (w *watcher) recall(ctx context.Context) error {
	w.accepted = w.r.acceptedOf(w.id.Camera)
	s, err := w.r.cfg.Store.Signer(ctx, w.id)
	switch {
	case fault.Is(err, fault.NotFound):
		w.signer, w.known = vms.Signer{}, false
	case err != nil:
		return err
	default:
		w.signer, w.known = s, true
	}
	w.unkept = false
	return nil
}

func (w *watcher) read(ctx context.Context, sub vms.Subscription) error {
	var items []vms.Item
	for {
		var err error
		items, err = sub.Take(ctx, items)
		for i := range items {
			w.item(&items[i])
		}
		if w.accepted != w.r.acceptedOf(w.id.Camera) {
			if err := w.recall(ctx); err != nil {
				return err
			}
			w.begin(w.codec)
		}
		if w.last-w.kept > timebase.Wall(keepEvery) {
			w.keep(context.WithoutCancel(ctx))
		}
		if err != nil {
			return err
		}
	}
}

func (w *watcher) item(it *vms.Item) {
	switch {
	case it.Run != nil:
		w.end()
		w.begin(it.Run.Description.Video.Codec)
	case it.End != nil:
		w.end()
	case it.Lost > 0:
		// Our own queue lost these: they are not missing in the stream.
		w.end()
		w.begin(w.codec)
		w.sample(&it.Sample)
	default:
		w.sample(&it.Sample)
	}
}

// begin starts anew, as a run does.
func (w *watcher) begin(codec media.Codec) {
	w.codec, w.verifier, w.counted = media.Unknown, nil, 0
	w.signed, w.last, w.wait = 0, 0, 0
	w.earlier, w.other, w.claimed = "", "", false
	if codec.Video() {
		w.codec = codec
	}
	if w.known && w.codec != media.Unknown {
		w.verify()
	}
}

func (w *watcher) verify() {
	w.verifier = signedvideo.NewVerifier(signedvideo.Options{Codec: w.codec, Logged: w.r.cfg.Clock.Now().Time(), Tell: w.event})
}

// end ends the verification of a run and keeps what it came to.
func (w *watcher) end() {
	if w.verifier != nil {
		w.verifier.End()
		w.verifier = nil
	}
	w.codec = media.Unknown
	w.keep(context.Background())
	clear(w.open)
}

func (w *watcher) sample(s *vms.Sample) {
	if s.Kind == media.AudioTrack || w.codec == media.Unknown {
		return
	}
	if w.signed == 0 {
		w.signed, w.kept = s.Wall, s.Wall
	}
	if w.last != 0 && s.Wall > w.last {
		w.period = min(s.Wall-w.last, near)
	}
	w.last = s.Wall
	if s.Key {
		w.keys[w.nkeys%len(w.keys)] = s.Wall
		w.nkeys++
	}
	signs := false
	for n := range nal.All(s.Data) {
		if signedvideo.SchemeOf(w.codec, n) != signedvideo.None {
			signs = true
			break
		}
	}
	if signs {
		if w.verifier == nil {
			w.verify()
		} else if gap := s.Wall - w.signed; gap < near*60 {
			w.wait = max(w.wait, gap)
		}
		w.signed = s.Wall
	}
	if w.verifier == nil {
		return
	}
	w.verifier.Unit(int64(s.Wall), s.Data)
	if u := w.verifier.Report().Counts.Uncovered; u > w.counted {
		w.add(vms.VerdictUncovered, "pictures of a kind that signatures do not cover", s.Wall, s.Wall, u-w.counted)
		w.counted = u
	}
	if w.known && s.Wall-w.signed > max(2*w.wait, timebase.Wall(silence)) {
		w.add(vms.VerdictStopped, "the camera signed its video before, and does not now", w.signed, s.Wall, 1)
	}
}

// event takes what the verifier found.
func (w *watcher) event(e signedvideo.Event) {
	from, to, n := timebase.Wall(e.From), timebase.Wall(e.To), int64(e.Count)
	switch e.Result {
	case signedvideo.Authentic:
		w.authentic(e, from, to, n)
	case signedvideo.Invalid:
		w.add(vms.VerdictAltered, "pictures are not what the camera signed", from, to, n)
	case signedvideo.Missing:
		w.add(vms.VerdictMissing, "somewhere in here pictures that the camera signed are not there", w.group(from), to, n)
	case signedvideo.LostSEI:
		w.add(vms.VerdictAltered, "a signature that must have been there is not", from, to, n)
	case signedvideo.BadSignature:
		w.add(vms.VerdictAltered, "a signature is wrong: "+e.Why, from, to, n)
	case signedvideo.KeyChanged:
		w.add(vms.VerdictAltered, e.Why, from, to, n)
	}
}

// authentic takes pictures that a signature vouches for: whose, and of when?
func (w *watcher) authentic(e signedvideo.Event, from, to timebase.Wall, n int64) {
	if !w.known || w.signer.Certificate == "" || !w.claimed {
		w.meet()
	}
	if !e.End.IsZero() {
		claim := timebase.WallOf(e.End)
		if !w.claimed && w.signer.Claimed != 0 && claim < w.signer.Claimed-timebase.Wall(goneBy) {
			w.earlier = fmt.Sprintf("these pictures claim to be of %s, and later ones came before: played again, or the camera's clock was set back",
				e.End.UTC().Format("2006-01-02 15:04:05"))
		}
		w.claimed = true
		if claim > w.signer.Claimed {
			w.earlier = ""
			if w.other == "" {
				w.signer.Claimed, w.unkept = claim, true
			}
		}
	}
	switch {
	case w.other != "":
		w.add(vms.VerdictAltered, w.other, from, to, n)
	case w.earlier != "":
		w.add(vms.VerdictAltered, w.earlier, from, to, n)
	default:
		w.add(vms.VerdictAuthentic, "", from, to, n)
	}
}

// group is where the group of pictures before at began: what is not there has
// no place of its own.
func (w *watcher) group(at timebase.Wall) timebase.Wall {
	from := timebase.Wall(0)
	for _, k := range w.keys {
		if k < at {
			from = max(from, k)
		}
	}
	if from == 0 {
		return at
	}
	return from
}

// meet pins the signer, or compares it with the pinned one.
func (w *watcher) meet() {
	r := w.verifier.Report()
	s := vms.Signer{Scheme: r.Scheme.String(), Maker: r.Vendor.Manufacturer, Serial: r.Vendor.Serial, Since: w.last}
	if c := r.Certificate; c != nil {
		sum := sha256.Sum256(c.Raw)
		s.Certificate, s.Subject = hex.EncodeToString(sum[:]), c.Subject.String()
	}
	switch {
	case !w.known || w.signer.Certificate == "":
		s.Claimed = w.signer.Claimed
		w.signer, w.known, w.unkept = s, true, true
	case s.Certificate != "" && s.Certificate != w.signer.Certificate:
		w.other = "it is signed with another certificate than before: " + short(s.Certificate) + ", not " + short(w.signer.Certificate)
	}
}

func short(hex string) string { return hex[:min(len(hex), 16)] }

// add lengthens a stretch, or begins one and tells of it where somebody should look.
func (w *watcher) add(v vms.Verdict, message string, from, to timebase.Wall, n int64) {
	to += max(w.period, timebase.Wall(time.Millisecond))
	if v.Alarming() {
		defer func() { w.alarmed[v] = max(w.alarmed[v], to) }()
	}
	k := stretch{v, message}
	x := w.open[k]
	if x != nil && from-x.To < near {
		x.To, x.Pictures = max(x.To, to), x.Pictures+n
		return
	}
	switch {
	case x != nil:
		w.keep(context.Background())
	case len(w.open) >= 16: // messages of a stranger may be many
		w.keep(context.Background())
		clear(w.open)
	}
	if v.Alarming() && from-w.alarmed[v] > quiet {
		w.r.cfg.Alarm(w.name, w.id, fmt.Sprintf("%s (since %s)", message, from.Time().Format("2006-01-02 15:04:05")))
	}
	w.open[k] = &vms.Authentic{From: from, To: to, Verdict: v, Message: message, Pictures: n}
}

// keep writes down what is known. What cannot be kept is told, and tried again.
func (w *watcher) keep(ctx context.Context) {
	w.kept = w.last
	var out []vms.Authentic
	for _, x := range w.open {
		if x.Pictures > 0 {
			out = append(out, *x)
		}
	}
	if len(out) == 0 && !w.unkept {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keepTime)
	defer cancel()
	var err error
	if len(out) > 0 {
		err = w.r.cfg.Store.PutAuthentic(ctx, w.id, out)
	}
	if err == nil {
		for _, x := range w.open { // what comes next is added to it
			x.From, x.Pictures = x.To, 0
		}
	}
	if w.unkept && w.known && w.accepted == w.r.acceptedOf(w.id.Camera) {
		e := w.r.cfg.Store.PutSigner(ctx, w.id, w.signer)
		w.unkept = e != nil
		err = errors.Join(err, e)
	}
	if err != nil {
		w.r.cfg.Alarm(w.name, w.id, "what the camera's signatures say cannot be kept: "+fault.Message(err))
	}
}

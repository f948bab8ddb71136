package live

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/wire/aac"
	"github.com/bartizan-vms/bartizan/wire/flac"
	"github.com/bartizan-vms/bartizan/wire/fmp4"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/opus"
)

// What is kept of a stream's fragments for the next watcher, at most.
const (
	groupBytes  = 16 << 20
	groupPieces = 2048
)

// soundBatch is the most frames of sound in one fragment.
const soundBatch = 16

// piece is a piece as it is shared.
type piece struct {
	vms.Piece
	sound bool // beside pictures: for watchers with sound only
}

// muxer makes one stream into pieces for all its watchers.
type muxer struct {
	cancel context.CancelFunc

	mu       sync.Mutex // guards all below but what run owns
	watchers map[*watcher]struct{}
	hearing  int       // watchers with sound
	init     [2]*piece // without and with sound; nil while down
	end      *piece    // while down
	group    []piece   // since the last key
	bytes    int
	err      error // why it ended

	// Owned by run.
	d        media.Description // as carried
	in       media.Description // as it came
	sequence uint32
	last     int64 // decode time of the picture before
	begun    bool
	frame    int64 // length of an AAC frame in ticks
	sound    []media.Unit
	lengths  []uint32
	heardAt  vms.Sample
	one      [1]media.Unit
	length   [1]uint32
	runs     [1]fmp4.Run
}

// run takes the stream until ctx ends or it is forgotten.
func (m *muxer) run(ctx context.Context, sub vms.Subscription) {
	defer sub.Close()
	var (
		items []vms.Item
		err   error
	)
	for {
		if items, err = sub.Take(ctx, items); err != nil {
			break
		}
		m.mu.Lock()
		for _, it := range items {
			m.item(it)
		}
		m.flushSound() // sound waits for nothing longer than its batch
		m.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err = errNotRunning; errors.Is(err, io.EOF) {
		m.err = fault.New(fault.NotFound, "the camera's stream has been removed", "")
	}
	for w := range m.watchers {
		w.finish()
	}
}

func (m *muxer) why() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *muxer) add(w *watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[w] = struct{}{}
	if w.audio {
		m.hearing++
	}
	w.skip = true
	if m.err != nil {
		w.finish()
	}
	if m.end != nil {
		w.push(m.end)
	}
	if p := m.init[sounds(w.audio)]; p != nil {
		w.push(p)
		for i := range m.group {
			w.push(&m.group[i])
		}
		w.exempt()
	}
}

func sounds(audio bool) int {
	if audio {
		return 1
	}
	return 0
}

// remove takes a watcher out and tells how many are left.
func (m *muxer) remove(w *watcher) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.watchers, w)
	if w.audio {
		m.hearing--
	}
	return len(m.watchers)
}

func (m *muxer) item(it vms.Item) {
	if it.Lost > 0 {
		for w := range m.watchers {
			w.miss(it.Lost)
		}
	}
	switch {
	case it.Run != nil:
		m.flushSound()
		m.begin(it.Run)
	case it.End != nil:
		m.flushSound()
		m.down(vms.Piece{Kind: vms.PieceEnd, Wall: it.End.At, Cause: it.End.Cause, Detail: it.End.Detail})
	case m.init[0] == nil:
	case it.Sample.Kind == media.VideoTrack:
		m.flushSound()
		m.picture(it.Sample)
	default:
		m.hear(it.Sample)
	}
}

// begin makes the init pieces of a run.
func (m *muxer) begin(r *vms.Run) {
	m.in, m.d = r.Description, carried(r.Description)
	m.begun, m.frame = false, 1024
	if m.in.Audio.Codec == media.AAC {
		if c, err := aac.Parse(m.in.Audio.Config); err == nil && c.FrameLength > 0 {
			m.frame = int64(c.FrameLength)
		}
	}
	m.group, m.bytes, m.end = nil, 0, nil
	for i := range m.init {
		d := m.d
		if i == 0 && d.HasVideo() {
			d.Audio = media.Track{}
		}
		b, err := fmp4.Init(d)
		if err != nil {
			m.down(vms.Piece{Kind: vms.PieceEnd, Wall: r.Started, Cause: vms.CauseUnknown, Detail: fault.Message(err)})
			return
		}
		m.init[i] = &piece{Piece: vms.Piece{Kind: vms.PieceInit, Wall: r.Started, MIME: fmp4.MIME(d), Description: d, Bytes: b}}
	}
	for w := range m.watchers {
		w.push(m.init[sounds(w.audio)])
	}
}

// carried is what the fragments carry: G.711 goes as FLAC, without loss,
// because media source extensions do not know it.
func carried(d media.Description) media.Description {
	switch d.Audio.Codec {
	case media.PCMU, media.PCMA:
		d.Audio = flac.Track(d.Audio)
	case media.AAC, media.Opus, media.FLAC:
	default:
		d.Audio = media.Track{}
	}
	return d
}

func (m *muxer) down(p vms.Piece) {
	m.init, m.group, m.bytes, m.end = [2]*piece{}, nil, 0, &piece{Piece: p}
	for w := range m.watchers {
		w.push(m.end)
	}
}

// picture makes a fragment of one picture, at once: how long it lasts is not
// known before the next one comes, and waiting for that would cost its length
// in latency. So decode times lag one picture behind: picture n is decoded at
// the time of n-1 and lasts until its own, while its presentation time stays
// exact. Decode times then run on without gap or overlap whatever the camera's
// cadence, which media source extensions insist on (a step of more than two
// lengths makes them drop everything up to the next key picture).
func (m *muxer) picture(s vms.Sample) {
	rate := int64(m.d.Video.ClockRate)
	if !m.begun {
		m.last = s.DTS - rate/25
		if f := m.d.Video.FrameRate; f >= 1 && f <= 240 {
			m.last = s.DTS - int64(float64(rate)/f)
		}
		m.begun = true
	}
	u := s.Unit
	u.PTS += rate // a second, so that nothing is before 0
	u.DTS = m.last + rate
	m.length[0] = uint32(min(max(s.DTS-m.last, 1), math.MaxUint32))
	m.last = max(s.DTS, m.last+1)
	m.one[0] = u
	m.runs[0] = fmp4.Run{Kind: media.VideoTrack, BaseDTS: max(u.DTS, 0), Samples: m.one[:], Durations: m.length[:]}
	m.sequence++
	m.give(piece{Piece: vms.Piece{Kind: vms.PieceFragment, Key: s.Key, Wall: s.Wall, Bytes: fmp4.AppendFragment(nil, fmp4.Fragment{Sequence: m.sequence, Tracks: m.runs[:]})}})
	m.one[0] = media.Unit{}
}

// give hands a fragment to every watcher and keeps it for the next one.
func (m *muxer) give(p piece) {
	for w := range m.watchers {
		w.push(&p)
	}
	if p.Key {
		m.group, m.bytes = nil, 0
	} else if len(m.group) == 0 {
		return
	}
	if m.bytes += len(p.Bytes); m.bytes > groupBytes || len(m.group) >= groupPieces {
		m.group, m.bytes = nil, 0 // wait for the next key
		return
	}
	m.group = append(m.group, p)
}

// hear gathers a frame of sound, if anybody listens.
func (m *muxer) hear(s vms.Sample) {
	if m.hearing == 0 && m.d.HasVideo() || !m.d.HasAudio() {
		return
	}
	u, length := s.Unit, m.frame
	switch m.in.Audio.Codec {
	case media.Opus:
		n, err := opus.Duration(u.Data)
		if err != nil || n == 0 {
			return
		}
		length = int64(n)
	case media.PCMU, media.PCMA:
		length = int64(len(u.Data) / max(m.in.Audio.Channels, 1))
		if u.Data = flac.FromG711(m.in.Audio, u.Data, u.PTS); len(u.Data) == 0 {
			return
		}
	}
	rate := int64(m.d.Audio.ClockRate)
	u.PTS += rate
	u.DTS = u.PTS
	if n := len(m.sound); n > 0 && (n >= soundBatch || u.PTS != m.sound[n-1].PTS+int64(m.lengths[n-1])) {
		m.flushSound()
	}
	if len(m.sound) == 0 {
		m.heardAt = s
	}
	m.sound = append(m.sound, u)
	m.lengths = append(m.lengths, uint32(length))
}

// flushSound makes a fragment of the sound gathered.
func (m *muxer) flushSound() {
	if len(m.sound) == 0 {
		return
	}
	m.runs[0] = fmp4.Run{Kind: media.AudioTrack, BaseDTS: max(m.sound[0].PTS, 0), Samples: m.sound, Durations: m.lengths}
	m.sequence++
	m.give(piece{sound: m.d.HasVideo(), Piece: vms.Piece{
		Kind: vms.PieceFragment, Key: !m.d.HasVideo(), Wall: m.heardAt.Wall,
		Bytes: fmp4.AppendFragment(nil, fmp4.Fragment{Sequence: m.sequence, Tracks: m.runs[:]}),
	}})
	clear(m.sound)
	m.sound, m.lengths, m.heardAt = m.sound[:0], m.lengths[:0], vms.Sample{}
}

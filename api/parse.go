package api

import (
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/vms"
)

const day = 24 * time.Hour

// bounds of a moment: nanoseconds since 1970 fit 64 bits from 1678 to 2262,
// and no camera is older than 1970.
var earliest, latest = time.Unix(0, 0), time.Date(2250, 1, 1, 0, 0, 0, 0, time.UTC)

// parseTime reads RFC 3339. field names it in the complaint.
func parseTime(field, s string) (timebase.Wall, error) {
	const do = "write it as 2026-07-01T12:00:00Z; in an address a + must be written %2B"
	if s == "" {
		return 0, fault.New(fault.Invalid, field+" is missing", do)
	}
	if len(s) > 64 {
		return 0, fault.New(fault.Invalid, field+" is not a time", do)
	}
	if i := len(s) - len("+00:00"); i > 0 && s[i] == ' ' { // a + that was not escaped
		s = s[:i] + "+" + s[i+1:]
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fault.New(fault.Invalid, field+" is not a time by RFC 3339", do)
	}
	if t.Before(earliest) || t.After(latest) {
		return 0, fault.New(fault.Invalid, field+" lies outside 1970 to 2250", "give a time at which there was a camera")
	}
	return timebase.WallOf(t), nil
}

// parseRange reads from and to, at most most apart.
func parseRange(from, to string, most time.Duration, mostIs string) (f, t timebase.Wall, err error) {
	if f, err = parseTime("from", from); err != nil {
		return 0, 0, err
	}
	if t, err = parseTime("to", to); err != nil {
		return 0, 0, err
	}
	if f >= t {
		return 0, 0, fault.New(fault.Invalid, "from is not before to", "give a from that lies before to")
	}
	if t.Sub(f) > most {
		return 0, 0, fault.New(fault.Invalid, "from and to are more than "+mostIs+" apart", "ask for at most "+mostIs+" at once")
	}
	return f, t, nil
}

// cameraID checks the shape of an id before anybody is asked for it.
func cameraID(s string) (vms.CameraID, error) {
	ok := len(s) == 12
	for i := 0; ok && i < len(s); i++ {
		ok = s[i] >= 'a' && s[i] <= 'z' || s[i] >= '2' && s[i] <= '7'
	}
	if !ok {
		return "", fault.New(fault.NotFound, "there is no such camera", "see /api/v1/cameras for those there are")
	}
	return vms.CameraID(s), nil
}

// stream is the stream a request means.
func stream(id, quality string) (vms.StreamID, error) {
	c, err := cameraID(id)
	if err != nil {
		return vms.StreamID{}, err
	}
	q := vms.Quality(quality)
	if !q.Valid() {
		return vms.StreamID{}, fault.New(fault.Invalid, "quality is neither main nor sub", "say quality=main or quality=sub")
	}
	return vms.StreamID{Camera: c, Quality: q}, nil
}

// clip cuts a stranger's words for the trail.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	return s
}

func pathURL(p string) *url.URL { return &url.URL{Path: p} }

// when is a moment in JSON; nil for none.
func when(w timebase.Wall) *time.Time {
	if w == 0 {
		return nil
	}
	t := w.Time()
	return &t
}

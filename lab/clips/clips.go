// Package clips holds the scenes our simulated cameras film: eight of ten
// seconds each, drawn by lab/scenes, so nobody's face and nobody's rights are
// in them. They repeat without a seam. Values are immutable; there is no
// goroutine.
package clips

import (
	"embed"
	"io/fs"
	"slices"

	"github.com/bartizan-vms/bartizan/base/fault"
)

//go:embed *.mp4
var files embed.FS

// Quality is one coding of a scene.
type Quality string

// The codings. Every scene has Main and Sub; only "gate" has the rest.
const (
	Main    Quality = "main"    // 960x540, 25 pictures a second, H.264 High, a key every 2 s, AAC 16 kHz mono
	Sub     Quality = "sub"     // 480x270, 12.5 pictures a second, H.264 Main, a key every 1.04 s, AAC
	H265    Quality = "h265"    // Main's picture and sound, H.265
	BFrames Quality = "bframes" // 320x180, 2 s, with B-frames, no sound
	Load    Quality = "1080p"   // 1920x1080, 2 s, one key, no sound: small, to be padded
	Opus    Quality = "opus"    // of the name "tone" only: 4 s of sound without picture
)

var names = []string{"gate", "lobby", "parking", "dock", "aisle", "perimeter", "server", "street"}

// Names lists the scenes in the order a wall of pictures shows them.
func Names() []string { return slices.Clone(names) }

// Open gives a clip as a whole MP4. It fails with fault.NotFound.
func Open(name string, q Quality) ([]byte, error) {
	b, err := fs.ReadFile(files, name+"_"+string(q)+".mp4")
	if err != nil {
		return nil, fault.Newf(fault.NotFound, "there is no clip of %q in the quality %q", name, string(q))
	}
	return b, nil
}

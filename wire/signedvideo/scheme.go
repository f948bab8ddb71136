package signedvideo

import "github.com/bartizan-vms/bartizan/wire/media"

// SchemeOf tells whether a NAL unit is a SEI of a signature, and of which
// scheme, by its first bytes alone. It costs next to nothing for all others.
func SchemeOf(codec media.Codec, nalu []byte) Scheme {
	if k, _ := classify(codec, nalu); k != seiUnit {
		return None
	}
	f, err := frameOf(codec, nalu)
	if err != nil {
		return None
	}
	return f.scheme
}

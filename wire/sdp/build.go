package sdp

import "github.com/bartizan-vms/bartizan/wire/media"

// Build writes a description of d for a viewer: parameter sets and
// configuration out of band, one control per track, CRLF line ends.
func Build(d media.Description, o Options) []byte { return nil }

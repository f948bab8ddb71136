package rtsp

// Sink is the way to one viewer: interleaved TCP, TLS or UDP.
type Sink struct{}

// Write sends blocks in order and returns when the system took them: this is
// the back-pressure a recording's Playback paces against. Frames of kinds the
// viewer did not set up are left out. It fails when the viewer is gone.
func (s *Sink) Write(blocks ...Block) error { return nil }

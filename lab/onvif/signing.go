package onvif

// Attack is what somebody does to a signed stream between the camera and the
// recorder.
type Attack string

// sign sets an encoder's signing up as its configuration says.
func (d *Device) sign(int) {}

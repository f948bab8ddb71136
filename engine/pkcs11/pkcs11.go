// Package pkcs11 keeps root keys' wrapping keys in a device that never gives
// them out: a hardware security module or a token, by PKCS#11 v2.40. It is the
// one door to such libraries. They are C, so the package does this only in a
// build with the tag pkcs11 and cgo; the common build is one static program,
// and there Open says so.
//
// Invariants: a wrapping key is made inside the device, is not extractable, and
// is found again by its id alone; the PIN is read from its file for each use
// and is in no error. A session lasts one call: a device that was pulled and
// put back is found again. The package owns no goroutines.
package pkcs11

// Config names a device.
type Config struct {
	Library string // path of the PKCS#11 library
	Token   string // label of the token
	PINFile string // file with the user's PIN, mode 0600
}

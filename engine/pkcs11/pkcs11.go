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

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// Config names a device.
type Config struct {
	Library string // path of the PKCS#11 library
	Token   string // label of the token
	PINFile string // file with the user's PIN, mode 0600
}

const maxPIN = 256

// pin reads the PIN.
func (c Config) pin() (string, error) {
	f, err := os.Open(c.PINFile)
	if err != nil {
		return "", fault.Wrap(fault.Invalid, err, "the PIN of the PKCS#11 device cannot be read", "name its file in keys.pkcs11.pin_file")
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && fi.Mode().Perm()&0o077 != 0 {
		return "", fault.New(fault.Forbidden, "the PIN's file "+c.PINFile+" may be used by others than its owner", "run: chmod 600 "+c.PINFile)
	}
	b, rerr := io.ReadAll(io.LimitReader(f, maxPIN))
	if err := errors.Join(err, rerr); err != nil {
		return "", fault.Wrap(fault.Invalid, err, "the PIN of the PKCS#11 device cannot be read", "")
	}
	return string(bytes.TrimRight(b, "\r\n")), nil
}

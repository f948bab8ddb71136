package rtsp

import (
	"errors"

	"github.com/bartizan-vms/bartizan/wire/digest"
)

// signer is a client's side of signing in; its errors are reasons.
type signer struct{ digest.Signer }

// challenged takes a 401's headers and reports whether another try makes sense.
func (s *signer) challenged(values []string) (again bool, err error) {
	again, err = s.Challenged(values)
	switch {
	case errors.Is(err, digest.ErrClearBasic):
		err = failure(ClearBasic, nil)
	case err != nil:
		err = failure(BadPassword, nil)
	}
	return again, err
}

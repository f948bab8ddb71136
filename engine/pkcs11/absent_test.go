//go:build !pkcs11 || !cgo

package pkcs11

import (
	"strings"
	"testing"

	"github.com/bartizan-vms/bartizan/base/fault"
)

func TestB08_TheStaticBuildSaysItHasNoPKCS11(t *testing.T) {
	_, err := Open(Config{})
	if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "without PKCS#11") || !strings.Contains(fault.Advice(err), "-tags pkcs11") {
		t.Errorf("%v; %s", err, fault.Advice(err))
	}
}

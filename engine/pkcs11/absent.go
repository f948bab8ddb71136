//go:build !pkcs11 || !cgo

package pkcs11

import (
	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// Open says that this build cannot: Unsupported.
func Open(Config) (security.Vault, error) {
	return nil, fault.New(fault.Unsupported, "this program was built without PKCS#11", "build it with: CGO_ENABLED=1 go build -tags pkcs11 ./cmd/bartizan")
}

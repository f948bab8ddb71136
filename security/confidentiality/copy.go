package confidentiality

import (
	"bytes"
	"context"
	"crypto/hpke"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strings"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// A copy of the root key is sealed by HPKE (RFC 9180, base mode) to a key pair
// whose private half is kept away from the node: ML-KEM-768 with X25519,
// HKDF-SHA256, AES-256-GCM. A copy lives for years, hence the hybrid.
const (
	identityLine  = "bartizan-backup-identity-1 "
	recipientLine = "bartizan-backup-recipient-1 "
	copyInfo      = "bartizan root copy 1"
	maxCopy       = 16 << 10
)

type copied struct {
	Bartizan string    `json:"bartizan"` // "root copy 1"
	Made     time.Time `json:"made"`
	Key      string    `json:"key"` // the root key's name, not the key
	Sealed   []byte    `json:"sealed"`
}

func kem() hpke.KEM { return hpke.MLKEM768X25519() }

// NewIdentity makes a key pair for copies of the root key, each a line of text.
func NewIdentity() (identity, recipient string, err error) {
	bad := func(err error) (string, string, error) {
		return "", "", fault.Wrap(fault.Internal, err, "no key pair could be made", "")
	}
	k, err := kem().GenerateKey()
	if err != nil {
		return bad(err)
	}
	b, err := k.Bytes()
	if err != nil {
		return bad(err)
	}
	return identityLine + base64.StdEncoding.EncodeToString(b), recipientLine + base64.StdEncoding.EncodeToString(k.PublicKey().Bytes()), nil
}

func keyLine(text, kind, what string) ([]byte, error) {
	text = strings.TrimSpace(text)
	coded, ok := strings.CutPrefix(text, kind)
	b, err := base64.StdEncoding.DecodeString(coded)
	if !ok || err != nil || len(text) > maxCopy {
		return nil, fault.New(fault.Invalid, "this is not "+what, "make a pair with: bartizan keys identity")
	}
	return b, nil
}

// CopyKeys seals a copy of the root key for recipient, a line of NewIdentity.
func (k *Keys) CopyKeys(_ context.Context, recipient string) ([]byte, error) {
	b, err := keyLine(recipient, recipientLine, "a recipient of copies")
	if err != nil {
		return nil, err
	}
	to, err := kem().NewPublicKey(b)
	if err != nil {
		return nil, fault.New(fault.Invalid, "this is not a recipient of copies", "make a pair with: bartizan keys identity")
	}
	root := k.known(rootID)
	defer clear(root)
	c := copied{Bartizan: "root copy 1", Made: k.clock.Now().Time().UTC(), Key: fingerprint(root)}
	if c.Sealed, err = hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(copyInfo), root); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the copy could not be sealed", "")
	}
	out, err := json.MarshalIndent(c, "", "  ")
	return append(out, '\n'), err
}

func openCopy(identity string, b []byte) ([]byte, error) {
	id, err := keyLine(identity, identityLine, "an identity")
	if err != nil {
		return nil, err
	}
	private, err := kem().NewPrivateKey(id)
	if err != nil {
		return nil, fault.New(fault.Invalid, "this is not an identity", "give the file that bartizan keys identity wrote")
	}
	var c copied
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if len(b) > maxCopy || d.Decode(&c) != nil || c.Bartizan != "root copy 1" {
		return nil, fault.New(fault.Corrupt, "this is not a copy of a root key", "give the file that bartizan keys export wrote")
	}
	key, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(copyInfo), c.Sealed)
	if err != nil || len(key) != keySize {
		return nil, fault.New(fault.Forbidden, "the copy is not for this identity, or was changed", "give the identity whose recipient the copy was made for")
	}
	return key, nil
}

// Import brings a root key back from a copy and keeps it as c.Keep says. It
// refuses a key that does not open what the ring holds, and to put one where a
// root key is that does.
func Import(ctx context.Context, c Config, identity string, sealed []byte) (*Keys, error) {
	key, err := openCopy(identity, sealed)
	if err != nil {
		return nil, err
	}
	tenant, err := c.Ring.Live(ctx, purposeTenant)
	if err != nil {
		return nil, fault.In("the ring's keys cannot be read", err)
	}
	if _, err := gcmOpen(key, aad(tenant.ID, tenant.Parent, tenant.Purpose), tenant.Bytes); err != nil {
		return nil, fault.New(fault.Conflict, "the copy is of another root key than the one this database is wrapped with", "take the copy made after the last rotation")
	}
	asIs := c
	asIs.Keep, asIs.Create = Keep{}, false
	if _, err := OpenKeys(ctx, asIs); err == nil {
		return nil, fault.New(fault.Conflict, "the root key is there and opens the keys; nothing needs bringing back", "")
	}
	kind := c.Keep.Kind
	if kind == "" {
		kind = RootFile
	}
	o := opener{dir: c.Dir, keep: c.Keep}
	r, content, err := o.wrap(ctx, kind, key, nil)
	if err != nil {
		return nil, err
	}
	// What lies there opens nothing, and its device may be dead: it gives way
	// once the new file is safe. Cut off, the next start does the rest.
	final := r.name
	for _, name := range []string{sealedName + next, clearName + next} {
		if err := shred(filepath.Join(c.Dir, name), true); err != nil {
			return nil, err
		}
	}
	if err := o.put(final+next, content); err != nil {
		return nil, err
	}
	for _, name := range []string{sealedName, clearName} {
		if err := shred(filepath.Join(c.Dir, name), true); err != nil {
			return nil, err
		}
	}
	c.Create = true
	return OpenKeys(ctx, c)
}

package authentication

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/bartizan-vms/bartizan/security"
)

var here = security.Site{Host: "localhost", Origin: "https://localhost:8443"}

// authenticator is a security key in software: what it says can be bent.
type authenticator struct {
	t      testing.TB
	key    *ecdsa.PrivateKey
	id     []byte
	handle []byte
	count  uint32

	origin, rp string // "" for what was asked
	unverified bool   // no PIN, no finger
	challenge  string // another than was asked
	still      bool   // the counter does not move
	other      *ecdsa.PrivateKey
	handleIs   []byte
	kind       string
	format     string
}

func newAuthenticator(t testing.TB) *authenticator {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authenticator{t: t, key: key, id: make([]byte, 32)}
	rand.Read(a.id)
	return a
}

func (a *authenticator) b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (a *authenticator) client(kind, challenge, origin string) []byte {
	if a.challenge != "" {
		challenge = a.challenge
	}
	if a.origin != "" {
		origin = a.origin
	}
	if a.kind != "" {
		kind = a.kind
	}
	b, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false})
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

// data is authenticator data (Web Authentication Level 3 §6.1).
func (a *authenticator) data(rp string, flags byte) []byte {
	if a.rp != "" {
		rp = a.rp
	}
	h := sha256.Sum256([]byte(rp))
	flags |= 0x05 // present, verified
	if a.unverified {
		flags &^= 0x04
	}
	return binary.BigEndian.AppendUint32(append(h[:], flags), a.count)
}

// register answers creation options.
func (a *authenticator) register(c security.Ceremony, at security.Site) []byte {
	a.t.Helper()
	var o struct {
		Challenge string
		RP        struct{ ID string }
		User      struct{ ID string }
	}
	if err := json.Unmarshal(c.Options, &o); err != nil {
		a.t.Fatal(err)
	}
	var err error
	if a.handle, err = base64.RawURLEncoding.DecodeString(o.User.ID); err != nil {
		a.t.Fatal(err)
	}
	pub, err := a.key.PublicKey.Bytes()
	if err != nil {
		a.t.Fatal(err)
	}
	cose, err := cbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: pub[1:33], -3: pub[33:]})
	if err != nil {
		a.t.Fatal(err)
	}
	d := a.data(o.RP.ID, 0x40)
	d = append(d, make([]byte, 16)...)
	d = binary.BigEndian.AppendUint16(d, uint16(len(a.id)))
	d = append(append(d, a.id...), cose...)
	format := "none"
	if a.format != "" {
		format = a.format
	}
	obj, err := cbor.Marshal(map[string]any{"fmt": format, "attStmt": map[string]any{}, "authData": d})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.marshal(map[string]any{"clientDataJSON": a.b64(a.client("webauthn.create", o.Challenge, at.Origin)), "attestationObject": a.b64(obj)})
}

// sign answers request options.
func (a *authenticator) sign(c security.Ceremony, at security.Site) []byte {
	a.t.Helper()
	var o struct{ Challenge, RPID string }
	if err := json.Unmarshal(c.Options, &o); err != nil {
		a.t.Fatal(err)
	}
	if !a.still {
		a.count++
	}
	d, client := a.data(o.RPID, 0), a.client("webauthn.get", o.Challenge, at.Origin)
	sum := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte{}, d...), sum[:]...))
	key := a.key
	if a.other != nil {
		key = a.other
	}
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		a.t.Fatal(err)
	}
	handle := a.handle
	if a.handleIs != nil {
		handle = a.handleIs
	}
	return a.marshal(map[string]any{"clientDataJSON": a.b64(client), "authenticatorData": a.b64(d), "signature": a.b64(sig), "userHandle": a.b64(handle)})
}

func (a *authenticator) marshal(response map[string]any) []byte {
	b, err := json.Marshal(map[string]any{"id": a.b64(a.id), "rawId": a.b64(a.id), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{}})
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

// hold registers a for the subject.
func (h *house) hold(t testing.TB, sub security.Subject) *authenticator {
	t.Helper()
	a := newAuthenticator(t)
	c, err := h.BeginPasskey(t.Context(), sub, here)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddPasskey(t.Context(), sub, c.Flow, "key", a.register(c, here)); err != nil {
		t.Fatal(err)
	}
	return a
}

func (h *house) asked(t testing.TB) security.Ceremony {
	t.Helper()
	c, err := h.BeginSignIn(t.Context(), home, here)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

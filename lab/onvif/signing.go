package onvif

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/lab/footage"
	"github.com/bartizan-vms/bartizan/wire/h264"
	"github.com/bartizan-vms/bartizan/wire/h265"
	"github.com/bartizan-vms/bartizan/wire/media"
	"github.com/bartizan-vms/bartizan/wire/nal"
	"github.com/bartizan-vms/bartizan/wire/signedvideo"
)

// Attack is what somebody does to a stream between its signer and its viewer,
// from a moment on.
type Attack string

// The attacks.
const (
	NoAttack  Attack = ""
	Forged    Attack = "forged"    // one bit of a picture in each group is another
	Replayed  Attack = "replayed"  // a whole group of before is shown again, signatures and all
	Reordered Attack = "reordered" // two pictures of each group change places
	Cut       Attack = "cut"       // one picture of each group is missing
	Stripped  Attack = "stripped"  // the signatures are gone
	Resigned  Attack = "resigned"  // signed anew by somebody else
)

// authority is the CA of the lab's makers, one for a process.
var authority = sync.OnceValues(func() (*issuer, error) { return newIssuer("Bartizan lab makers") })

type issuer struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newIssuer(name string) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	return &issuer{key, c}, err
}

// issue makes a key and its certificate.
func (i *issuer) issue(name, serial string) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{SerialNumber: n, Subject: pkix.Name{CommonName: name, SerialNumber: serial}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, t, i.cert, key.Public(), i.key)
	if err != nil {
		return nil, nil, err
	}
	c, err := x509.ParseCertificate(der)
	return key, c, err
}

// MakersRoot is the certificate that the signing certificates of the lab's
// devices go back to.
func MakersRoot() (*x509.Certificate, error) {
	i, err := authority()
	if err != nil {
		return nil, err
	}
	return i.cert, nil
}

// initSigning adds the factory's signing key to a keystore.
func (k *keystore) initSigning(model, serial string) error {
	i, err := authority()
	if err != nil {
		return err
	}
	key1, c, err := i.issue(model+" media signing", serial)
	if err != nil {
		return err
	}
	k.keys = append(k.keys, key{"signingkey", "factory media signing", key1})
	k.certs = append(k.certs, cert{"signingcert", "factory media signing", "signingkey", c})
	k.paths = append(k.paths, path{"signingpath", "factory media signing", []string{"signingcert"}})
	k.signing = "signingpath"
	return nil
}

// SetAttack lets somebody tamper with a stream (0: main, 1: sub) from now on.
// It fails with fault.Invalid.
func (d *Device) SetAttack(stream int, how Attack) error {
	switch how {
	case NoAttack, Forged, Replayed, Reordered, Cut, Stripped, Resigned:
	default:
		return fault.Newf(fault.Invalid, "there is no attack %q", string(how))
	}
	if stream < 0 || stream > 1 {
		return fault.New(fault.Invalid, "a device has the streams 0 and 1", "")
	}
	d.mu.Lock()
	t := d.stages[stream]
	d.mu.Unlock()
	var other *signedvideo.Signing
	if how == Resigned {
		i, err := newIssuer("Somebody else")
		if err != nil {
			return err
		}
		key, c, err := i.issue("Somebody else's camera", d.cfg.Serial)
		if err != nil {
			return err
		}
		other = &signedvideo.Signing{Key: key, Chain: []*x509.Certificate{c}}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attack, t.others, t.foreign = how, other, nil
	t.group, t.whole, t.shown, t.held = nil, false, 0, nil
	return nil
}

// sign sets an encoder's signing up as its configuration and the keystore say.
// It begins at the next key picture.
func (d *Device) sign(stream int) {
	d.mu.Lock()
	t, on := d.stages[stream], d.media.encoders[stream].signed
	id := d.keys.signing
	if id == "" {
		id = "signingpath"
	}
	chain := d.keys.chain(id)
	var certs []*x509.Certificate
	if p := d.keys.path(id); p != nil {
		for _, c := range p.certs {
			certs = append(certs, d.keys.cert(c).x)
		}
	}
	firmware := d.sys.firmware
	d.mu.Unlock()
	t.mu.Lock()
	t.signing, t.signer = nil, nil
	if on && chain != nil {
		t.signing = &signedvideo.Signing{Key: chain.PrivateKey.(crypto.Signer), Chain: certs, Vendor: signedvideo.Vendor{Firmware: firmware, Serial: d.cfg.Serial, Manufacturer: d.maker.name}}
	}
	t.mu.Unlock()
	d.feeds[stream].Key()
}

// stage is what happens to a stream's pictures behind the encoder: they are
// signed, and then perhaps tampered with.
type stage struct {
	clock func() time.Time

	mu      sync.Mutex // guards what follows
	signing *signedvideo.Signing
	signer  *signedvideo.Signer
	codec   media.Codec
	failed  error

	attack  Attack
	others  *signedvideo.Signing
	foreign *signedvideo.Signer
	group   []footage.Unit // Replayed: what is shown again
	whole   bool           // group is complete
	shown   int            // the next of group
	at      int            // the number of the picture in its group, of the encoder's
	held    *footage.Unit  // Reordered: waits for its successor
}

// Failed is why a stream could not be signed, nil when it was.
func (d *Device) Failed(stream int) error {
	d.mu.Lock()
	t := d.stages[stream]
	d.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func signWith(s **signedvideo.Signer, o signedvideo.Signing, codec media.Codec, at time.Time, data []byte) ([]byte, error) {
	if *s == nil {
		o.Codec = codec
		n, err := signedvideo.NewSigner(o)
		if err != nil {
			return data, err
		}
		*s = n
	}
	return (*s).Unit(at, data)
}

// run is a footage.Stage.
func (t *stage) run(u footage.Unit, codec media.Codec) []footage.Unit {
	if u.Kind != media.VideoTrack {
		return []footage.Unit{u}
	}
	at := t.clock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if codec != t.codec {
		t.codec, t.signer, t.foreign, t.group, t.whole = codec, nil, nil, nil, false
	}
	if t.signing != nil && (t.signer != nil || u.Key) {
		var err error
		if u.Data, err = signWith(&t.signer, *t.signing, codec, at, u.Data); err != nil {
			t.failed = err
		}
	}
	return t.tamper(u, codec, at)
}

func (t *stage) tamper(u footage.Unit, codec media.Codec, at time.Time) []footage.Unit {
	if t.at++; u.Key {
		t.at = 0
	}
	switch t.attack {
	case Forged:
		if t.at == 3 {
			u.Data = flipped(u.Data, codec)
		}
	case Cut:
		if t.at == 3 {
			return nil
		}
	case Reordered:
		switch {
		case t.at == 3:
			t.held = &u
			return nil
		case t.held != nil: // the pictures change places, the times do not
			first := *t.held
			t.held = nil
			first.Data, u.Data = u.Data, first.Data
			first.Key, u.Key = u.Key, first.Key
			return []footage.Unit{first, u}
		}
	case Replayed:
		return []footage.Unit{t.replay(u)}
	case Stripped, Resigned:
		u.Data = stripped(u.Data, codec)
		if t.attack == Resigned && (t.foreign != nil || u.Key) {
			u.Data, _ = signWith(&t.foreign, *t.others, codec, at, u.Data) // a forger's key does not fail
		}
	}
	return []footage.Unit{u}
}

// replay keeps a whole group and shows it for ever after.
func (t *stage) replay(u footage.Unit) footage.Unit {
	if !t.whole {
		if u.Key && len(t.group) > 0 {
			t.whole = true
		} else if u.Key || len(t.group) > 0 {
			t.group = append(t.group, u)
		}
	}
	if !t.whole {
		return u
	}
	old := t.group[t.shown]
	t.shown = (t.shown + 1) % len(t.group)
	u.Data, u.Key = old.Data, old.Key
	return u
}

func isSEI(n []byte, codec media.Codec) bool {
	if codec == media.H265 {
		k := h265.TypeOf(n)
		return k == h265.PrefixSEI || k == h265.SuffixSEI
	}
	return h264.TypeOf(n) == h264.SEI
}

func stripped(data []byte, codec media.Codec) (out []byte) {
	for n := range nal.All(data) {
		if !isSEI(n, codec) {
			out = nal.Append(out, n)
		}
	}
	return out
}

// flipped changes a bit near a picture's end, where it breaks nothing but the
// picture.
func flipped(data []byte, codec media.Codec) []byte {
	out := bytes.Clone(data)
	for n := range nal.All(out) {
		vcl := codec == media.H265 && h265.TypeOf(n).VCL() || codec == media.H264 && h264.TypeOf(n).VCL()
		if vcl && len(n) > 4 {
			n[len(n)*3/4] ^= 0x04
			break
		}
	}
	return out
}

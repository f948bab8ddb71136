//go:build pkcs11 && cgo

package pkcs11

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/miekg/pkcs11"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// GCM as NIST SP 800-38D has it.
const (
	nonceSize = 12
	tagBits   = 128
)

type device struct {
	cfg Config
	mu  sync.Mutex // one call at a time: a library has one state for the process
}

// Open looks whether the token is there and its PIN right.
func Open(c Config) (security.Vault, error) {
	d := &device{cfg: c}
	return d, d.session(func(*pkcs11.Ctx, pkcs11.SessionHandle) error { return nil })
}

// String names the token.
func (d *device) String() string { return "PKCS#11 token " + d.cfg.Token }

// session runs do logged in.
func (d *device) session(do func(p *pkcs11.Ctx, s pkcs11.SessionHandle) error) (err error) {
	pin, err := d.cfg.pin()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p := pkcs11.New(d.cfg.Library)
	if p == nil {
		return fault.New(fault.Invalid, "the PKCS#11 library "+d.cfg.Library+" cannot be loaded", "name the device's library in keys.pkcs11.library")
	}
	defer p.Destroy()
	if err := p.Initialize(); err != nil {
		return wrong("does not start", err)
	}
	defer func() { err = errors.Join(err, wrong("does not end", p.Finalize())) }()
	slot, err := d.slot(p)
	if err != nil {
		return err
	}
	s, err := p.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return wrong("opens no session", err)
	}
	defer func() { err = errors.Join(err, wrong("does not close", p.CloseSession(s))) }()
	if err := p.Login(s, pkcs11.CKU_USER, pin); err != nil {
		if is(err, pkcs11.CKR_PIN_INCORRECT) || is(err, pkcs11.CKR_PIN_LEN_RANGE) || is(err, pkcs11.CKR_PIN_LOCKED) {
			return fault.New(fault.Forbidden, "the PKCS#11 device refuses the PIN", "mend keys.pkcs11.pin_file; after some wrong tries a device locks itself")
		}
		return wrong("lets nobody in", err)
	}
	return do(p, s)
}

func (d *device) slot(p *pkcs11.Ctx) (uint, error) {
	slots, err := p.GetSlotList(true)
	if err != nil {
		return 0, wrong("has no slots", err)
	}
	for _, s := range slots {
		if info, err := p.GetTokenInfo(s); err == nil && strings.TrimRight(info.Label, " \x00") == d.cfg.Token {
			return s, nil
		}
	}
	return 0, fault.New(fault.Unavailable, "there is no PKCS#11 token named "+d.cfg.Token, "put it in, or mend keys.pkcs11.token")
}

func find(p *pkcs11.Ctx, s pkcs11.SessionHandle, id string) ([]pkcs11.ObjectHandle, error) {
	err := p.FindObjectsInit(s, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(id)),
	})
	if err != nil {
		return nil, wrong("does not search", err)
	}
	found, _, err := p.FindObjects(s, 2)
	return found, wrong("does not search", errors.Join(err, p.FindObjectsFinal(s)))
}

// Make makes an AES-256 key that the device never gives out.
func (d *device) Make(context.Context) (string, error) {
	b := make([]byte, 10)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	id := hex.EncodeToString(b)
	return id, d.session(func(p *pkcs11.Ctx, s pkcs11.SessionHandle) error {
		_, err := p.GenerateKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY),
			pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
			pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32),
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
			pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
			pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
			pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
			pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, true),
			pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, true),
			pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(id)),
			pkcs11.NewAttribute(pkcs11.CKA_LABEL, "bartizan root "+id),
		})
		return wrong("makes no key", err)
	})
}

// Wrap seals clear by AES-GCM inside the device: nonce, ciphertext, tag.
func (d *device) Wrap(_ context.Context, id, where string, clear []byte) (out []byte, err error) {
	nonce := make([]byte, nonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	err = d.use(id, func(p *pkcs11.Ctx, s pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
		params := pkcs11.NewGCMParams(nonce, []byte(where), tagBits)
		defer params.Free()
		if err := p.EncryptInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, key); err != nil {
			return wrong("does not encrypt", err)
		}
		b, err := p.Encrypt(s, clear)
		if err != nil {
			return wrong("does not encrypt", err)
		}
		if iv := params.IV(); len(iv) == nonceSize {
			nonce = iv // some devices choose their own
		}
		out = append(append([]byte{}, nonce...), b...)
		return nil
	})
	return out, err
}

// Unwrap opens what Wrap sealed; Corrupt for other bytes or another place.
func (d *device) Unwrap(_ context.Context, id, where string, wrapped []byte) (out []byte, err error) {
	if len(wrapped) < nonceSize+tagBits/8 {
		return nil, fault.New(fault.Corrupt, "what the device shall unwrap is too short", "put root.json back from its backup")
	}
	err = d.use(id, func(p *pkcs11.Ctx, s pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
		params := pkcs11.NewGCMParams(wrapped[:nonceSize], []byte(where), tagBits)
		defer params.Free()
		if err := p.DecryptInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, key); err != nil {
			return wrong("does not decrypt", err)
		}
		if out, err = p.Decrypt(s, wrapped[nonceSize:]); err != nil {
			return fault.Wrap(fault.Corrupt, err, "the root key does not unwrap in its device", "put root.json back from its backup")
		}
		return nil
	})
	return out, err
}

func (d *device) use(id string, do func(*pkcs11.Ctx, pkcs11.SessionHandle, pkcs11.ObjectHandle) error) error {
	return d.session(func(p *pkcs11.Ctx, s pkcs11.SessionHandle) error {
		found, err := find(p, s, id)
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fault.New(fault.NotFound, "the PKCS#11 device does not hold the root's key", "put in the device this node was set up with, or bring the root back from a copy: bartizan keys import")
		}
		return do(p, s, found[0])
	})
}

// Destroy removes the key of id.
func (d *device) Destroy(_ context.Context, id string) error {
	return d.session(func(p *pkcs11.Ctx, s pkcs11.SessionHandle) error {
		found, err := find(p, s, id)
		for _, o := range found {
			err = errors.Join(err, wrong("does not destroy its key", p.DestroyObject(s, o)))
		}
		return err
	})
}

func is(err error, code uint) bool {
	var e pkcs11.Error
	return errors.As(err, &e) && uint(e) == code
}

func wrong(what string, err error) error {
	if err == nil {
		return nil
	}
	return fault.Wrap(fault.Unavailable, err, "the PKCS#11 device "+what, "see whether it is connected and initialised")
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

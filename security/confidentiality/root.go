package confidentiality

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

// The ways to keep a root key.
const (
	RootFile       = "file"       // in clear, in root.key, mode 0600
	RootPassphrase = "passphrase" // in root.json, wrapped by a passphrase through argon2id
	RootPKCS11     = "pkcs11"     // in root.json, wrapped by a key that never leaves its device
)

// The files. The ending next marks a rotation under way: while the old root's
// file exists, so does one of these.
const (
	clearName  = "root.key"
	sealedName = "root.json"
	next       = ".next"
)

// Keep says how a root key is or shall be kept.
type Keep struct {
	Kind string // RootFile ...; "" for what is there, or a file
	// Passphrase gives the passphrase; asked when it is needed, at most once
	// an opening.
	Passphrase func() ([]byte, error)
	// Vault opens the device; asked when it is needed.
	Vault func() (security.Vault, error)
}

// cost of argon2id: RFC 9106 §4 asks for at least 64 MiB where memory is
// scarce; four times that is about half a second, once a start.
type cost struct {
	Time   uint32 `json:"time"`
	Memory uint32 `json:"memory_kib"`
	Lanes  uint8  `json:"lanes"`
}

var passphraseCost = cost{Time: 3, Memory: 256 << 10, Lanes: 4}

// Bounds of what is read and typed.
const (
	maxRootFile   = 16 << 10
	minPassphrase = 12 // bytes
	maxPassphrase = 4096
	rootSalt      = 16
	maxTime       = 32
	maxMemory     = 4 << 20 // KiB
	maxWrapped    = 4096
)

// sealed is root.json.
type sealed struct {
	Version int    `json:"version"`
	Kind    string `json:"kind"`
	Salt    []byte `json:"salt,omitempty"`
	Argon2  *cost  `json:"argon2id,omitempty"`
	Device  string `json:"device_key,omitempty"` // id of the wrapping key inside the device
	Wrapped []byte `json:"wrapped"`
}

// parseSealed reads root.json; every field is checked, because whoever can
// write the file must not make us spend a machine's memory.
func parseSealed(b []byte) (s sealed, err error) {
	bad := func(what string) (sealed, error) {
		return sealed{}, fault.New(fault.Corrupt, "root.json is not a root key's file: "+what, "put the file back from its backup")
	}
	if len(b) > maxRootFile {
		return bad("it is too long")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if d.Decode(&s) != nil {
		return bad("it is not the JSON that is wanted")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return bad("something follows it")
	}
	if s.Version != 1 || len(s.Wrapped) < nonceSize || len(s.Wrapped) > maxWrapped {
		return bad("version or key")
	}
	switch s.Kind {
	case RootPassphrase:
		c := s.Argon2
		if len(s.Salt) != rootSalt || c == nil || s.Device != "" || c.Time < 1 || c.Time > maxTime || c.Lanes < 1 || c.Lanes > 64 ||
			c.Memory < 8*uint32(c.Lanes) || c.Memory > maxMemory {
			return bad("parameters of argon2id")
		}
	case RootPKCS11:
		if s.Salt != nil || s.Argon2 != nil || len(s.Device) < 1 || len(s.Device) > 64 || strings.Trim(s.Device, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return bad("the device's key")
		}
	default:
		return bad("kind")
	}
	return s, nil
}

// where binds the wrapped root key to everything that stands beside it.
func (s sealed) where() string {
	c := cost{}
	if s.Argon2 != nil {
		c = *s.Argon2
	}
	return fmt.Sprintf("bartizan root 1\x00%s\x00%x\x00%d %d %d\x00%s", s.Kind, s.Salt, c.Time, c.Memory, c.Lanes, s.Device)
}

func (s sealed) kek(passphrase []byte) []byte {
	return argon2.IDKey(passphrase, s.Salt, s.Argon2.Time, s.Argon2.Memory, s.Argon2.Lanes, keySize)
}

// root is a root key in hand.
type root struct {
	key  []byte
	kind string
	name string // of its file in dir
	form sealed // of root.json
	kek  []byte // of a passphrase, so that a rotation needs no typing
}

// opener opens roots of one directory; it asks passphrase and device once.
type opener struct {
	dir        string
	keep       Keep
	passphrase []byte
	vault      security.Vault
}

func (o *opener) secret() ([]byte, error) {
	if o.passphrase == nil {
		if o.keep.Passphrase == nil {
			return nil, fault.New(fault.Invalid, "the root key is kept by a passphrase, and none was given", "set keys.passphrase_file, or BARTIZAN_PASSPHRASE_FILE, or give a systemd credential")
		}
		p, err := o.keep.Passphrase()
		if err != nil {
			return nil, err
		}
		if p = bytes.TrimRight(p, "\r\n"); len(p) == 0 || len(p) > maxPassphrase {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("the passphrase is empty or longer than %d bytes", maxPassphrase), "")
		}
		o.passphrase = p
	}
	return o.passphrase, nil
}

// forget drops the passphrase.
func (o *opener) forget() {
	clear(o.passphrase)
	o.passphrase = nil
}

func (o *opener) device() (security.Vault, error) {
	if o.vault == nil {
		if o.keep.Vault == nil {
			return nil, fault.New(fault.Invalid, "the root key is kept by a PKCS#11 device, and none is configured", "set keys.pkcs11 in the configuration")
		}
		v, err := o.keep.Vault()
		if err != nil {
			return nil, err
		}
		o.vault = v
	}
	return o.vault, nil
}

// read opens the root of one file; fs.ErrNotExist where there is none.
func (o *opener) read(ctx context.Context, name string) (root, error) {
	b, err := readPrivate(filepath.Join(o.dir, name))
	if err != nil {
		return root{}, err
	}
	r := root{name: name, kind: RootFile}
	if strings.HasPrefix(name, clearName) {
		r.key, err = parseClear(b, filepath.Join(o.dir, name))
		return r, err
	}
	if r.form, err = parseSealed(b); err != nil {
		return r, err
	}
	if r.kind = r.form.Kind; o.keep.Kind != "" && r.kind != o.keep.Kind {
		return r, otherwise(r.kind, o.keep.Kind) // before a passphrase is asked for
	}
	switch r.kind {
	case RootPassphrase:
		p, err := o.secret()
		if err != nil {
			return r, err
		}
		r.kek = r.form.kek(p)
		if r.key, err = gcmOpen(r.kek, r.form.where(), r.form.Wrapped); err != nil {
			return r, fault.New(fault.Forbidden, "the passphrase does not open the root key", "give the passphrase that was set last; if root.json was changed, put it back from its backup")
		}
	case RootPKCS11:
		v, err := o.device()
		if err != nil {
			return r, err
		}
		if r.key, err = v.Unwrap(ctx, r.form.Device, r.form.where(), r.form.Wrapped); err != nil {
			return r, err
		}
	}
	if len(r.key) != keySize {
		return r, fault.New(fault.Corrupt, "the root key has a wrong size", "put "+sealedName+" back from its backup")
	}
	return r, nil
}

func otherwise(is, wanted string) error {
	return fault.New(fault.Conflict, "the root key is kept by "+is+", and the configuration says "+wanted, "change it with: bartizan keys rotate --data DIR --to "+wanted)
}

func parseClear(text []byte, path string) ([]byte, error) {
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keySize {
		// err would show the key's characters.
		return nil, fault.New(fault.Corrupt, "the root key "+path+" is not a key", "put the file back from its backup")
	}
	return key, nil
}

// readPrivate reads a small file that nobody but its owner may touch.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the root key "+path+" cannot be read", "run as the user who owns it")
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the root key "+path+" cannot be read", "")
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(fault.Forbidden, "the root key "+path+" may be used by others than its owner", "run: chmod 600 "+path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRootFile+1))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the root key "+path+" cannot be read", "")
	}
	return b, nil
}

// wrap gives the file of a root key: its final name and its content. old lends
// what of a passphrase is known already. made is the device's new key, to be
// destroyed when the root is not used after all.
func (o *opener) wrap(ctx context.Context, kind string, key []byte, old *root) (r root, content []byte, err error) {
	r = root{key: key, kind: kind, name: sealedName, form: sealed{Version: 1, Kind: kind}}
	switch kind {
	case RootFile:
		r.name = clearName
		return r, append(hex.AppendEncode(nil, key), '\n'), nil
	case RootPassphrase:
		if old != nil && old.kind == RootPassphrase && o.keep.Passphrase == nil {
			r.form.Salt, r.form.Argon2, r.kek = old.form.Salt, old.form.Argon2, old.kek
		} else {
			p, err := o.secret()
			if err != nil {
				return r, nil, err
			}
			if len(p) < minPassphrase {
				return r, nil, fault.New(fault.Invalid, fmt.Sprintf("the passphrase is shorter than %d characters", minPassphrase), "take five or more random words")
			}
			c := passphraseCost
			r.form.Argon2 = &c
			if r.form.Salt, err = random(rootSalt); err != nil {
				return r, nil, err
			}
			r.kek = r.form.kek(p)
		}
		if r.form.Wrapped, err = gcmSeal(r.kek, r.form.where(), key); err != nil {
			return r, nil, err
		}
	case RootPKCS11:
		v, err := o.device()
		if err != nil {
			return r, nil, err
		}
		if r.form.Device, err = v.Make(ctx); err != nil {
			return r, nil, err
		}
		if r.form.Wrapped, err = v.Wrap(ctx, r.form.Device, r.form.where(), key); err != nil {
			return r, nil, errors.Join(err, v.Destroy(context.WithoutCancel(ctx), r.form.Device))
		}
	default:
		return r, nil, fault.New(fault.Invalid, fmt.Sprintf("%q is no way to keep a root key", kind), "say file, passphrase or pkcs11")
	}
	content, err = json.MarshalIndent(r.form, "", "  ")
	return r, append(content, '\n'), err
}

// make writes a new root key so that its file is there whole or not at all,
// and never over one that is there.
func (o *opener) make(ctx context.Context) (root, error) {
	kind := o.keep.Kind
	if kind == "" {
		kind = RootFile
	}
	key, err := random(keySize)
	if err != nil {
		return root{}, err
	}
	r, content, err := o.wrap(ctx, kind, key, nil)
	if err != nil {
		return r, err
	}
	return r, o.put(r.name, content)
}

// put writes a file durably where there is none of that name.
func (o *opener) put(name string, content []byte) error {
	path := filepath.Join(o.dir, name)
	bad := func(err error) error {
		return fault.Wrap(fault.Internal, err, "the root key "+path+" cannot be written", "check that the data directory may be written by this user")
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return bad(err)
	}
	f, err := os.CreateTemp(o.dir, ".root-*") // mode 0600
	if err != nil {
		return bad(err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path) // unlike rename, never over a key that is there
	}
	if err := errors.Join(err, shred(f.Name(), err != nil), syncDir(o.dir), syncDir(filepath.Dir(o.dir))); err != nil {
		return bad(err)
	}
	return nil
}

// shred removes a file; with overwrite its bytes become zeros first. On flash
// and on file systems that copy on write old bytes may stay until the medium
// reuses them: what protects then is that they open nothing any more.
func shred(path string, overwrite bool) error {
	if overwrite {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		fi, err := f.Stat()
		if err == nil {
			_, err = f.Write(make([]byte, min(fi.Size(), maxRootFile)))
		}
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// find opens the root that belongs to the ring. fits tells; nil when the ring
// is empty and any will do. A rotation that was cut off is brought to its end,
// forward or back, when settle says that this process may write.
func (o *opener) find(ctx context.Context, fits func(key []byte) bool, settle bool) (found root, beside string, err error) {
	var right *root
	var others []string
	var first error
	cut := false
	for _, name := range []string{sealedName, clearName, sealedName + next, clearName + next} {
		r, err := o.read(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		cut = cut || strings.HasSuffix(name, next)
		switch {
		case err == nil && right == nil && (fits == nil || fits(r.key)):
			right = &r
			continue
		case err == nil && right == nil:
			err = fault.New(fault.Corrupt, "the root key "+filepath.Join(o.dir, name)+" is not the one the keys are wrapped with", "put back the root key that belongs to this database; both come from the same backup")
		}
		if first == nil || fault.Is(first, fault.Corrupt) {
			first = err // what a person can mend is told before what does not fit
		}
		others = append(others, name)
	}
	switch {
	case right == nil && first == nil:
		return root{}, "", fs.ErrNotExist
	case right == nil:
		return root{}, "", first
	case cut && settle:
		r, err := o.settle(ctx, *right, others)
		return r, "", err
	case len(others) > 0 && !cut:
		beside = others[0]
	}
	return *right, beside, nil
}

// settle makes r the only root: others go, first what their device holds, then
// their bytes; then r takes its final name. Begun again it does the rest.
func (o *opener) settle(ctx context.Context, r root, others []string) (root, error) {
	bad := func(err error) (root, error) {
		return r, fault.Wrap(fault.Internal, err, "the old root key could not be destroyed", "check that the data directory may be written by this user, then start the node again")
	}
	for _, name := range others {
		path := filepath.Join(o.dir, name)
		if b, err := readPrivate(path); err == nil && strings.HasPrefix(name, sealedName) {
			if s, err := parseSealed(b); err == nil && s.Kind == RootPKCS11 && s.Device != r.form.Device {
				v, err := o.device()
				if err == nil {
					err = v.Destroy(ctx, s.Device)
				}
				if err != nil {
					return bad(err)
				}
			}
		}
		if err := errors.Join(shred(path, true), syncDir(o.dir)); err != nil {
			return bad(err)
		}
	}
	if final, ok := strings.CutSuffix(r.name, next); ok {
		if err := errors.Join(os.Rename(filepath.Join(o.dir, r.name), filepath.Join(o.dir, final)), syncDir(o.dir)); err != nil {
			return bad(err)
		}
		r.name = final
	}
	return r, nil
}

// fingerprint names a key without telling it.
func fingerprint(key []byte) string {
	h := sha256.Sum256(append([]byte("bartizan key name\x00"), key...))
	return hex.EncodeToString(h[:8])
}

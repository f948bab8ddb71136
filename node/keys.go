package node

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/engine/disk"
	"github.com/bartizan-vms/bartizan/engine/pkcs11"
	"github.com/bartizan-vms/bartizan/engine/sqlite"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/audit"
	"github.com/bartizan-vms/bartizan/security/confidentiality"
)

// KeysConfig says how the root key is kept.
type KeysConfig struct {
	Root           string       `yaml:"root"`
	PassphraseFile string       `yaml:"passphrase_file"`
	PKCS11         PKCS11Config `yaml:"pkcs11"`
}

// PKCS11Config names the device.
type PKCS11Config struct {
	Library string `yaml:"library"`
	Token   string `yaml:"token"`
	PINFile string `yaml:"pin_file"`
}

func (c KeysConfig) check(bad func(format string, args ...any)) {
	switch c.Root {
	case confidentiality.RootFile, confidentiality.RootPassphrase:
	case confidentiality.RootPKCS11:
		if c.PKCS11.Library == "" || c.PKCS11.Token == "" || c.PKCS11.PINFile == "" {
			bad("keys.pkcs11: library, token and pin_file are needed")
		}
	default:
		bad("keys.root: %q is none of file, passphrase, pkcs11", c.Root)
	}
}

// credential is the passphrase's name among systemd's credentials, and
// passphraseEnv the environment's word for its file.
const (
	credential    = "bartizan-passphrase"
	passphraseEnv = "BARTIZAN_PASSPHRASE_FILE"
	maxPassphrase = 4097
)

// Keep is how the configuration keeps the root key. in is standard input, for
// passphrase_file: "-".
func (c KeysConfig) Keep(in io.Reader) confidentiality.Keep {
	return confidentiality.Keep{
		Kind:       c.Root,
		Passphrase: func() ([]byte, error) { return passphrase(c.PassphraseFile, in) },
		Vault: func() (security.Vault, error) {
			return pkcs11.Open(pkcs11.Config{Library: c.PKCS11.Library, Token: c.PKCS11.Token, PINFile: c.PKCS11.PINFile})
		},
	}
}

// passphrase is read from where file says, else from systemd's credential, else
// from the file the environment names. The words themselves are never in the
// environment, which other programs of the user can read.
func passphrase(file string, in io.Reader) ([]byte, error) {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); file == "" && dir != "" {
		if p := filepath.Join(dir, credential); exists(p) {
			file = p
		}
	}
	if file == "" {
		file = os.Getenv(passphraseEnv)
	}
	switch file {
	case "":
		return nil, fault.New(fault.Invalid, "the root key is kept by a passphrase, and none was given", "set keys.passphrase_file, or "+passphraseEnv+", or give the systemd credential "+credential)
	case "-":
	default:
		f, err := os.Open(file)
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, err, "the passphrase's file "+file+" cannot be read", "")
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxPassphrase))
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the passphrase cannot be read", "")
	}
	first, _, _ := strings.Cut(string(b), "\n")
	return []byte(first), nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// keysDir is where the root key is: DIR/keys, or DIR where an older version put
// it and it was not moved yet. With move it is.
func keysDir(data string, move bool) (string, error) {
	dir, old := filepath.Join(data, "keys"), filepath.Join(data, "root.key")
	if !exists(old) || exists(filepath.Join(dir, "root.key")) {
		return dir, nil
	}
	if !move {
		return data, nil
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.Rename(old, filepath.Join(dir, "root.key")) // one file system: at once or not at all
	}
	if err != nil {
		return "", fault.Wrap(fault.Internal, err, "the root key could not be moved to "+dir, "check that the data directory may be written by this user")
	}
	return dir, nil
}

// openKeys opens a data folder's keys.
func openKeys(ctx context.Context, data string, db *sqlite.DB, clock timebase.Clock, keep confidentiality.Keep, create bool) (*confidentiality.Keys, error) {
	dir, err := keysDir(data, create)
	if err != nil {
		return nil, err
	}
	return confidentiality.OpenKeys(ctx, confidentiality.Config{Dir: dir, Ring: db, Clock: clock, Keep: keep, Create: create})
}

// KeyRoom is the work on the keys of a node that does not run.
type KeyRoom struct {
	Keys  *confidentiality.Keys
	trail *audit.Trail
	clock timebase.Clock
	open  closers
}

// KeysOf opens the keys of a data folder whose node does not run; c.Root ""
// takes the root as it is kept, and in is standard input, for a passphrase.
// With identity the root is first brought back from a copy, and kept as c says.
// Close it.
func KeysOf(ctx context.Context, data string, c KeysConfig, in io.Reader, identity string, sealed []byte) (_ *KeyRoom, err error) {
	keep := c.Keep(in)
	if data, err = filepath.Abs(data); err != nil {
		return nil, err
	}
	if _, err := os.Stat(database(data)); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, data+" is not the data folder of a node", "give it with --data")
	}
	v := &KeyRoom{clock: timebase.System()}
	defer func() {
		if err != nil {
			_ = v.open.close()
		}
	}()
	files, err := disk.Open(data) // with the folder's lock
	if err != nil {
		return nil, err
	}
	v.open = append(v.open, files)
	db, err := sqlite.Open(ctx, database(data))
	if err != nil {
		return nil, err
	}
	v.open = append(v.open, db)
	if identity == "" {
		v.Keys, err = openKeys(ctx, data, db, v.clock, keep, true)
	} else {
		v.Keys, err = confidentiality.Import(ctx, confidentiality.Config{Dir: filepath.Join(data, "keys"), Ring: db, Clock: v.clock, Keep: keep}, identity, sealed)
	}
	if err != nil {
		return nil, err
	}
	v.trail = audit.New(db.Trail(), v.Keys, v.clock)
	return v, nil
}

// Rotate replaces root, tenant and day keys and keeps the new root as to says;
// to.Root "" keeps it as it is, with the same passphrase.
func (v *KeyRoom) Rotate(ctx context.Context, to KeysConfig, in io.Reader) (security.KeyRotation, error) {
	keep := confidentiality.Keep{}
	if to.Root != "" {
		keep = to.Keep(in)
	}
	// A rotation is many transactions and a file: that it begins is written
	// before the first, how it ended after the last.
	if err := v.Record(ctx, "keys.rotate.begin", "to "+to.Root, nil); err != nil {
		return security.KeyRotation{}, err
	}
	done, err := v.Keys.Rotate(ctx, keep)
	return done, errors.Join(err, v.Record(context.WithoutCancel(ctx), "keys.rotate", "to "+to.Root, err))
}

// NewIdentity makes a key pair for copies of the root key.
func NewIdentity() (identity, recipient string, err error) { return confidentiality.NewIdentity() }

// Record writes into the trail what a person on this machine does with the keys.
func (v *KeyRoom) Record(ctx context.Context, action, detail string, failure error) error {
	e := security.Entry{At: v.clock.Now(), User: localUser(), Via: security.ViaLocal, Action: action,
		Resource: security.Resource{Kind: "keys"}, Outcome: security.Allowed, Detail: detail}
	if failure != nil {
		e.Outcome, e.Detail = security.Failed, fault.Message(failure)
	}
	return v.trail.Record(ctx, e)
}

// Close lets go of the folder.
func (v *KeyRoom) Close() error { return v.open.close() }

// localUser is the account of the operating system, by number where its name
// is not told: the name is in the environment and could be anybody's.
func localUser() string { return "uid " + strconv.Itoa(os.Getuid()) }

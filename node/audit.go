package node

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/engine/sqlite"
	"github.com/bartizan-vms/bartizan/security"
	"github.com/bartizan-vms/bartizan/security/audit"
)

// AuditConfig says how long the audit trail is kept, and who is told of it.
type AuditConfig struct {
	KeepDays int          `yaml:"keep_days"`
	Syslog   SyslogConfig `yaml:"syslog"`
}

// SyslogConfig names a syslog receiver.
type SyslogConfig struct {
	Address     string `yaml:"address"`
	CA          string `yaml:"ca"`
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

func (c AuditConfig) check(bad func(format string, args ...any)) {
	if c.KeepDays < 0 || c.KeepDays > 36500 {
		bad("audit.keep_days: %d is not between 0 and 36500", c.KeepDays)
	}
	y := c.Syslog
	if y.Address == "" {
		if y.CA != "" || y.Certificate != "" || y.Key != "" {
			bad("audit.syslog.address: it is missing")
		}
		return
	}
	address(y.Address, "audit.syslog.address", bad)
	if host, port, err := net.SplitHostPort(y.Address); err == nil && (host == "" || port == "0") {
		bad("audit.syslog.address: %q names no host and port to connect to", y.Address)
	}
	if y.CA == "" {
		bad("audit.syslog.ca: it is missing; only TLS to a known authority is spoken")
	}
	if (y.Certificate == "") != (y.Key == "") {
		bad("audit.syslog: certificate and key go together; one is missing")
	}
	for _, f := range []struct{ key, path string }{{"ca", y.CA}, {"certificate", y.Certificate}, {"key", y.Key}} {
		if f.path != "" {
			if _, err := os.Stat(f.path); err != nil {
				bad("audit.syslog.%s: the file cannot be found: %s", f.key, f.path)
			}
		}
	}
}

// trail makes the node's audit trail, which ends after all others: its last
// signature is made when the house closes.
func (n *Node) trail(ctx context.Context, h *house, db *sqlite.DB, keys security.Sealer) (*audit.Trail, error) {
	t := audit.New(db.Trail(), keys, n.clock)
	t.Keep = time.Duration(n.cfg.Audit.KeepDays) * 24 * time.Hour
	t.Tell = func(err error) { n.log.Warn(err.Error(), "where", "audit") }
	if y := n.cfg.Audit.Syslog; y.Address != "" {
		cfg, err := audit.SyslogTLS(y.CA, y.Certificate, y.Key)
		if err != nil {
			return nil, err
		}
		host, err := os.Hostname()
		if err != nil {
			host = ""
		}
		t.Syslog = &audit.Syslog{Address: y.Address, TLS: cfg, Host: host, Proc: strconv.Itoa(os.Getpid())}
	}
	if err := t.Open(ctx); err != nil {
		return nil, err
	}
	h.closers = append(h.closers, t)
	h.group.Add("audit", t)
	return t, nil
}

// AuditFinding is one thing in an audit log that is not as it was written.
type AuditFinding = audit.Finding

// AuditReport is what a verification of the audit log found.
type AuditReport struct{ audit.Report }

// AuditQuery selects entries for an export.
type AuditQuery struct {
	User, Camera, Action string
	From, To             time.Time // zero: no bound
}

func (q AuditQuery) words() security.TrailQuery {
	t := security.TrailQuery{User: q.User, Camera: q.Camera, Action: q.Action}
	if !q.From.IsZero() {
		t.From = timebase.WallOf(q.From)
	}
	if !q.To.IsZero() {
		t.To = timebase.WallOf(q.To)
	}
	return t
}

// AuditVerify judges the audit log of a data folder, whether its node runs or
// not, and changes nothing. vkey, if given, is the key that must have signed.
// What is wrong is in the report and not in the error.
func AuditVerify(ctx context.Context, data, vkey string) (r AuditReport, err error) {
	err = withTrail(ctx, data, func(t *audit.Trail) error {
		r.Report, err = t.VerifyBy(ctx, vkey)
		return err
	})
	return r, judged(r, err)
}

// AuditVerifyFile judges an export by a checkpoint and a key.
func AuditVerifyFile(r io.Reader, checkpoint []byte, vkey string) (AuditReport, error) {
	rep, err := audit.VerifyFile(r, checkpoint, vkey)
	return AuditReport{rep}, judged(AuditReport{rep}, err)
}

func judged(r AuditReport, err error) error {
	if len(r.Findings) > 0 {
		return nil
	}
	return err
}

// AuditExport writes entries of a data folder as JSON lines and gives how many,
// and the log's newest checkpoint.
func AuditExport(ctx context.Context, data string, q AuditQuery, w io.Writer) (n int64, checkpoint []byte, err error) {
	err = withTrail(ctx, data, func(t *audit.Trail) error {
		if n, err = t.Export(ctx, q.words(), w); err != nil {
			return err
		}
		checkpoint, err = t.Signed(ctx)
		return err
	})
	return n, checkpoint, err
}

// AuditKey is the verifier key of a data folder's audit log.
func AuditKey(ctx context.Context, data string) (key string, err error) {
	err = withTrail(ctx, data, func(t *audit.Trail) error {
		key, err = t.Key(ctx)
		return err
	})
	return key, err
}

// withTrail opens the trail of a data folder for reading.
func withTrail(ctx context.Context, data string, do func(*audit.Trail) error) (err error) {
	if data, err = filepath.Abs(data); err != nil {
		return err
	}
	if _, err := os.Stat(database(data)); err != nil {
		return fault.Wrap(fault.Invalid, err, data+" is not the data folder of a node", "give it with --data")
	}
	db, err := sqlite.OpenReadOnly(ctx, database(data))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it only read
	clock := timebase.System()
	keys, err := openKeys(ctx, data, db, clock, KeysConfig{}.Keep(os.Stdin), false)
	if err != nil {
		return err
	}
	return do(audit.New(db.Trail(), keys, clock))
}

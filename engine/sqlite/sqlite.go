// Package sqlite is the one door to SQLite: it keeps everything about the
// recordings but the samples themselves (the index, the ring of wrapped keys,
// cameras, users, the audit) in one file.
//
// Invariants: there is one connection that writes, and whoever writes holds it
// from BEGIN IMMEDIATE on, so no transaction ever fails half way for a lock;
// readers have a pool of their own and never wait for the writer (WAL). A
// committed transaction survives a power cut (synchronous=FULL). What is
// deleted is overwritten with zeros (secure_delete), because deleting a key
// must mean that it is gone. The package starts no goroutines of its own.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver, known to database/sql as "sqlite"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/security"
)

//go:embed migrations/*.sql
var migrations embed.FS

// readers is how many connections read side by side.
const readers = 4

// DB is one open database. Methods are safe for concurrent use.
type DB struct {
	path  string
	write *sql.DB       // one connection
	turn  chan struct{} // held by whoever writes
	read  *sql.DB       // a few connections that cannot write
	// carry writes an audit entry within the transaction of the change it tells
	// of; nil until there is a trail.
	carry atomic.Pointer[func(ctx context.Context, tx *sql.Tx, e security.Entry) error]
}

// Open opens the database at path, making it (mode 0600) and bringing its
// tables up to date where needed. Internal or Corrupt faults tell why not.
func Open(ctx context.Context, path string) (*DB, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the database "+path+" cannot be opened", "check that the data directory may be written by this user")
	}
	if err := f.Close(); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the database "+path+" cannot be opened", "")
	}
	db, err := connect(path)
	if err != nil {
		return nil, err
	}
	if err := db.migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// OpenReadOnly opens an existing database beside a process that may be writing
// it. Update fails; tables are taken as they are.
func OpenReadOnly(ctx context.Context, path string) (*DB, error) {
	if _, err := os.Stat(path); err != nil {
		kind := fault.Internal
		if errors.Is(err, fs.ErrNotExist) {
			kind = fault.NotFound
		}
		return nil, fault.Wrap(kind, err, "there is no database at "+path, "name the data directory of a node that has run")
	}
	db, err := connect(path)
	if err != nil {
		return nil, err
	}
	closeErr := db.write.Close()
	db.write = nil
	if err := errors.Join(closeErr, db.read.PingContext(ctx)); err != nil {
		return nil, errors.Join(wrong(path, err), db.Close())
	}
	return db, nil
}

func connect(path string) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "the database path "+path+" cannot be resolved", "")
	}
	write, err := sql.Open("sqlite", dsn(abs, true))
	if err != nil {
		return nil, wrong(path, err)
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", dsn(abs, false))
	if err != nil {
		return nil, errors.Join(wrong(path, err), write.Close())
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	return &DB{path: path, write: write, read: read, turn: make(chan struct{}, 1)}, nil
}

func dsn(path string, writer bool) string {
	q := url.Values{"_pragma": {"busy_timeout(10000)", "foreign_keys(1)", "temp_store(2)", "mmap_size(268435456)"}}
	if writer {
		q["_pragma"] = append(q["_pragma"], "journal_mode(WAL)", "synchronous(FULL)", "secure_delete(1)",
			"journal_size_limit("+strconv.Itoa(16<<20)+")", "cache_size(-4096)")
		q.Set("_txlock", "immediate")
	} else {
		q["_pragma"] = append(q["_pragma"], "query_only(1)", "cache_size(-2048)")
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

func (d *DB) migrate(ctx context.Context) error {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the database's plan is missing from this build", "")
	}
	// Rooms number their tables in blocks of their own, so a lower number may
	// come later.
	p, err := goose.NewProvider(goose.DialectSQLite3, d.write, sub, goose.WithAllowOutofOrder(true), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the database's plan is not readable", "")
	}
	if _, err := p.Up(ctx); err != nil {
		return wrong(d.path, err)
	}
	return nil
}

// Close ends all connections. What was committed stays.
func (d *DB) Close() error {
	err := d.read.Close()
	if d.write != nil {
		err = errors.Join(err, d.write.Close())
	}
	return err
}

// View is where to read: every statement sees a whole committed state.
func (d *DB) View() *sql.DB { return d.read }

// Update runs do in one transaction that holds the writer from its first
// moment on. It commits when do returns nil and leaves no trace otherwise.
// Where ctx carries an audit entry (security.Carry), the same transaction writes
// it: both stand or neither. Do not call Update within do.
func (d *DB) Update(ctx context.Context, do func(tx *sql.Tx) error) error {
	c, carry := security.CarriedBy(ctx), d.carry.Load()
	if c == nil || carry == nil {
		return d.update(ctx, do)
	}
	err := d.update(ctx, func(tx *sql.Tx) error {
		if err := do(tx); err != nil {
			return err
		}
		return (*carry)(ctx, tx, c.Entry)
	})
	if err == nil {
		c.Written()
	}
	return err
}

func (d *DB) update(ctx context.Context, do func(tx *sql.Tx) error) error {
	if d.write == nil {
		return fault.New(fault.Conflict, "the database is open for reading only", "")
	}
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return fault.In("the change was given up", ctx.Err())
	}
	// What was begun ends by itself: database/sql would watch a context that can
	// be cancelled with goroutines, at each statement, which costs more than most
	// of them do. Statements of do that use their own context still end with it.
	tx, err := d.write.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return wrong(d.path, err)
	}
	if err := do(tx); err != nil {
		if back := rollback(tx); back != nil {
			return errors.Join(err, back)
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return wrong(d.path, err)
	}
	return nil
}

func rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return nil
}

// wrong is an engine error as a person reads it.
func wrong(path string, err error) error {
	if err == nil {
		return nil
	}
	return fault.Wrap(fault.Internal, err, "the database "+filepath.Base(path)+" does not answer", "look at the disk's space and health")
}

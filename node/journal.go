package node

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// journalSize is how many different faults the journal remembers.
const journalSize = 100

// Fault is one line of the journal: what went wrong, where, how often.
type Fault struct {
	At      time.Time // last time
	Where   string
	Message string
	Count   int
}

// Journal remembers the latest warnings and errors for the System page. It is
// a slog.Handler in front of another: what is logged at Warn or above is kept
// too, equal messages as one with a count.
type Journal struct {
	next slog.Handler
	book *book
	with []slog.Attr
}

type book struct {
	mu     sync.Mutex // guards faults
	faults []Fault    // oldest first
}

// NewJournal puts a journal in front of next.
func NewJournal(next slog.Handler) *Journal { return &Journal{next: next, book: &book{}} }

// Faults lists what is remembered, newest first.
func (j *Journal) Faults() []Fault {
	j.book.mu.Lock()
	defer j.book.mu.Unlock()
	out := make([]Fault, 0, len(j.book.faults))
	for i := len(j.book.faults) - 1; i >= 0; i-- {
		out = append(out, j.book.faults[i])
	}
	return out
}

// Enabled is the next handler's, and true from Warn on.
func (j *Journal) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || j.next.Enabled(ctx, l)
}

// Handle keeps warnings and hands every record on.
func (j *Journal) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		f := Fault{At: r.Time, Message: r.Message, Count: 1}
		var more []string
		see := func(a slog.Attr) bool {
			switch a.Key {
			case "where":
				f.Where = a.Value.String()
			default:
				more = append(more, a.Key+" "+a.Value.String())
			}
			return true
		}
		for _, a := range j.with {
			see(a)
		}
		r.Attrs(see)
		if len(more) > 0 {
			f.Message += " (" + strings.Join(more, ", ") + ")"
		}
		j.book.add(f)
	}
	if !j.next.Enabled(ctx, r.Level) {
		return nil
	}
	return j.next.Handle(ctx, r)
}

// WithAttrs is slog.Handler's.
func (j *Journal) WithAttrs(as []slog.Attr) slog.Handler {
	return &Journal{next: j.next.WithAttrs(as), book: j.book, with: append(j.with[:len(j.with):len(j.with)], as...)}
}

// WithGroup is slog.Handler's.
func (j *Journal) WithGroup(name string) slog.Handler {
	return &Journal{next: j.next.WithGroup(name), book: j.book, with: j.with}
}

func (b *book) add(f Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, g := range b.faults {
		if g.Where == f.Where && g.Message == f.Message {
			f.Count += g.Count
			b.faults = append(b.faults[:i], b.faults[i+1:]...)
			break
		}
	}
	if len(b.faults) >= journalSize {
		b.faults = b.faults[1:]
	}
	b.faults = append(b.faults, f)
}

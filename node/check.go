package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bartizan-vms/bartizan/base/fault"
	"github.com/bartizan-vms/bartizan/base/timebase"
	"github.com/bartizan-vms/bartizan/engine/disk"
	"github.com/bartizan-vms/bartizan/engine/sqlite"
	"github.com/bartizan-vms/bartizan/security/audit"
	"github.com/bartizan-vms/bartizan/security/confidentiality"
	"github.com/bartizan-vms/bartizan/vms/storage"
)

// Checked is what Check found.
type Checked struct {
	storage.Report
	TrailEntries int64 `json:"trail_entries"`
}

// Check compares recordings, index, keys and trail of a data folder, whether
// its node runs or not, and changes nothing. With deep every fragment is
// decrypted and verified.
func Check(ctx context.Context, data string, deep bool) (c Checked, err error) {
	data, err = filepath.Abs(data)
	if err != nil {
		return c, err
	}
	if _, err := os.Stat(database(data)); err != nil {
		return c, fault.Wrap(fault.Invalid, err, data+" is not the data folder of a node", "give it with --data")
	}
	var open closers
	defer func() { _ = open.close() }()
	files, err := disk.OpenReadOnly(data)
	if err != nil {
		return c, err
	}
	open = append(open, files)
	db, err := sqlite.OpenReadOnly(ctx, database(data))
	if err != nil {
		return c, err
	}
	open = append(open, db)
	clock := timebase.System()
	keys, err := openKeys(ctx, data, db, clock, KeysConfig{}.Keep(os.Stdin), false)
	if err != nil {
		return c, err
	}
	c.Report, err = storage.Check(ctx, storage.Config{Files: files, Index: db, Keys: keys, Cipher: confidentiality.Cobblestone{}, Clock: clock}, deep)
	if err != nil {
		return c, err
	}
	t, err := audit.New(db.Trail(), keys, clock).Verify(ctx)
	if err != nil {
		if !fault.Is(err, fault.Corrupt) {
			return c, err
		}
		c.Findings = append(c.Findings, "the trail: "+fault.Message(err))
	}
	c.TrailEntries = t.Entries
	return c, nil
}

// Print writes the report for a person, or as JSON.
func (c Checked) Print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Clean        bool     `json:"clean"`
			Segments     int      `json:"segments"`
			Fragments    int      `json:"fragments"`
			Bytes        int64    `json:"bytes"`
			TrailEntries int64    `json:"trail_entries"`
			Findings     []string `json:"findings"`
			Notes        []string `json:"notes"`
		}{c.Clean(), c.Segments, c.Fragments, c.Bytes, c.TrailEntries, append([]string{}, c.Findings...), append([]string{}, c.Notes...)})
	}
	for _, n := range c.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	for _, f := range c.Findings {
		fmt.Fprintln(w, "FOUND:", f)
	}
	if c.Dropped > 0 {
		fmt.Fprintf(w, "FOUND: and %d more\n", c.Dropped)
	}
	verdict := "clean"
	if !c.Clean() {
		verdict = fmt.Sprintf("%d findings", len(c.Findings)+c.Dropped)
	}
	_, err := fmt.Fprintf(w, "%d segments, %d fragments, %.1f MB, %d trail entries: %s\n", c.Segments, c.Fragments, float64(c.Bytes)/1e6, c.TrailEntries, verdict)
	return err
}

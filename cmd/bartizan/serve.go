package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/bartizan-vms/bartizan/node"
)

type serveCmd struct {
	Config string `help:"Configuration file (YAML); see bartizan config." type:"path" placeholder:"FILE"`
	Data   string `help:"Folder for recordings, index and keys." placeholder:"DIR"`
	Listen string `help:"Where console and API answer." placeholder:"HOST:PORT"`
	Demo   bool   `help:"Add eight simulated cameras."`
}

func (c serveCmd) config() (node.Config, error) {
	cfg, err := node.Load(c.Config)
	if err != nil {
		return cfg, err
	}
	if c.Data != "" {
		cfg.Data = c.Data
	}
	if c.Listen != "" {
		cfg.Listen = c.Listen
	}
	cfg.Demo = cfg.Demo || c.Demo
	return cfg, cfg.Check()
}

// gcPercent trades a little CPU for a third of the memory: a recorder makes
// little garbage, and runs beside other things.
const gcPercent = 50

// Run serves until a signal.
func (c serveCmd) Run(ctx context.Context, s streams) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		return err
	}
	var h slog.Handler = slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: level})
	if cfg.Log.Format == "json" {
		h = slog.NewJSONHandler(s.err, &slog.HandlerOptions{Level: level})
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	n, err := node.New(cfg, built(), h)
	if err != nil {
		return err
	}
	n.OnReady(func(r node.Ready) {
		if r.SetupLink != "" {
			fmt.Fprintf(s.out, "\n  Bartizan is running. Open this link once to create the first administrator:\n\n    %s\n\n", r.SetupLink)
			fmt.Fprintf(s.out, "  Your browser will warn about the certificate until you trust %s.\n\n", r.CA)
		} else {
			fmt.Fprintf(s.out, "\n  Bartizan is running: %s\n\n", r.URL)
		}
	})
	return n.Run(ctx)
}

type configCmd struct{}

func (configCmd) Run(s streams) error {
	_, err := s.out.Write(node.DefaultConfig)
	return err
}

type checkCmd struct {
	Data string `help:"The node's data folder." default:"./data" placeholder:"DIR"`
	Deep bool   `help:"Also decrypt and verify every fragment." default:"true" negatable:""`
	JSON bool   `help:"Print the report as JSON."`
}

// Run compares what is stored with what should be.
func (c checkCmd) Run(ctx context.Context, s streams) error {
	r, err := node.Check(ctx, c.Data, c.Deep)
	if err != nil {
		return err
	}
	if err := r.Print(s.out, c.JSON); err != nil {
		return err
	}
	if !r.Clean() {
		return errTold
	}
	return nil
}

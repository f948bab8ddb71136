package service

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func waits(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestAnEndAskedForIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{}, 2)
	var g Group
	for range 2 {
		g.Add("part", Func(func(ctx context.Context) error { began <- struct{}{}; return waits(ctx) }))
	}
	ended := make(chan error)
	go func() { ended <- g.Run(ctx) }()
	<-began
	<-began
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestOneFailureEndsAllAndIsNamed(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		part Func
		want string
	}{
		"fails":  {func(context.Context) error { return broken }, "fails: broken"},
		"ends":   {func(context.Context) error { return nil }, "ends: ended by itself"},
		"panics": {func(context.Context) error { panic("ouch") }, "panics: panic: ouch"},
	} {
		var g Group
		ended := false
		g.Add("bystander", Func(func(ctx context.Context) error { err := waits(ctx); ended = true; return err }))
		g.Add(name, tt.part)
		err := g.Run(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "bystander") {
			t.Errorf("%s: %v", name, err)
		}
		if !ended {
			t.Errorf("%s: the other part still runs", name)
		}
		if name == "fails" && !errors.Is(err, broken) {
			t.Error("the cause is lost")
		}
	}
}

// Package service is the house's only supervisor. A part with a life has one
// method Run(ctx) error that returns when all it started has ended; a Group
// runs parts side by side and returns when all of them have.
package service

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// Runner is a part with a life. Run must return soon after ctx is done, with
// nil or ctx's error when that was the reason.
type Runner interface {
	Run(ctx context.Context) error
}

// Func lets a function be a Runner.
type Func func(ctx context.Context) error

// Run calls f.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

// Group is a set of parts that live and die together. Add all, then Run once.
type Group struct {
	parts []part
}

type part struct {
	name string
	run  Runner
}

// Add names a part. The order of Add is the order of start.
func (g *Group) Add(name string, r Runner) { g.parts = append(g.parts, part{name, r}) }

// Run starts every part in its own goroutine. The first part that fails, or
// that returns while ctx still lives, ends the others. Run returns after all
// have returned, with the failures joined; an end asked for by ctx is no
// failure. A panic in a part becomes that part's failure.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs []error
	)
	for _, p := range g.parts {
		wg.Go(func() {
			err := call(ctx, p)
			if ctx.Err() == nil && err == nil {
				err = errors.New("ended by itself")
			}
			if err != nil && !(ctx.Err() != nil && errors.Is(err, ctx.Err())) {
				mu.Lock()
				errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
				mu.Unlock()
			}
			cancel()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func call(ctx context.Context, p part) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return p.run.Run(ctx)
}

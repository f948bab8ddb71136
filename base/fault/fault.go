// Package fault is the house's one kind of error: it says what was attempted,
// what was wrong, what the person can do, and carries a Kind. Only the api
// turns kinds into HTTP statuses, only cmd turns them into exit codes.
//
// Invariant: no key, password, token or credential-bearing URL is ever put in
// a fault; makers pass names and addresses, never secrets.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Kind classifies a failure by what the caller can do about it.
type Kind uint8

// The kinds.
const (
	Internal        Kind = iota // our defect, or the machine's: retrying will not help
	Invalid                     // the request itself is wrong
	Unauthenticated             // who are you?
	Forbidden                   // we know you, and no
	NotFound                    // no such thing (or not for you)
	Conflict                    // the thing is not in the state this needs
	Exhausted                   // a limit was reached: slow down or raise it
	Unavailable                 // something this needs is not there now: retrying may help
	Unsupported                 // this build, machine or peer cannot do it
	Corrupt                     // stored bytes are not what was written
)

var kinds = [...]string{"internal", "invalid", "unauthenticated", "forbidden", "not found", "conflict", "exhausted", "unavailable", "unsupported", "corrupt"}

// String is the kind's name as it appears in logs and in API problem types.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return "internal"
}

// Error is a failure somebody will read.
type Error struct {
	Kind Kind
	What string // what was wrong, a sentence without a final stop
	Do   string // what to do about it, a sentence; may be empty
	Err  error  // the cause, for logs; may be nil
}

// Error joins what was wrong and its cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.What + ": " + e.Err.Error()
	}
	return e.What
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of a kind: fault.New(fault.Invalid, "the name is empty", "give the camera a name").
func New(k Kind, what, do string) error { return &Error{Kind: k, What: what, Do: do} }

// Newf is New with a formatted What and no advice.
func Newf(k Kind, format string, args ...any) error {
	return &Error{Kind: k, What: fmt.Sprintf(format, args...)}
}

// Wrap puts a kind, a sentence and advice around a cause.
func Wrap(k Kind, err error, what, do string) error {
	return &Error{Kind: k, What: what, Do: do, Err: err}
}

// In says what was being attempted and keeps the kind and advice of err. A nil
// err stays nil.
func In(what string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: KindOf(err), What: what, Do: Advice(err), Err: err}
}

// KindOf finds the kind of err: the outermost Error's, Unavailable for an
// expired or cancelled context, Internal for the rest.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Unavailable
	}
	return Internal
}

// Is reports whether err has kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// Advice finds what the person can do about err, or "".
func Advice(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Do != "" {
			return e.Do
		}
		err = e.Err
	}
	return ""
}

// Message is what a person outside is shown: the outermost Error's sentence.
// Causes and foreign errors stay inside.
func Message(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.What
	}
	return "something went wrong inside"
}

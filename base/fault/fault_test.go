package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestKindAdviceAndMessageSurviveWrapping(t *testing.T) {
	inner := New(NotFound, "there is no such camera", "list them")
	outer := fmt.Errorf("asked: %w", In("opening the stream", inner))
	if !Is(outer, NotFound) || Advice(outer) != "list them" || Message(outer) != "opening the stream" {
		t.Errorf("%v %q %q", KindOf(outer), Advice(outer), Message(outer))
	}
	if got := In("opening", inner).Error(); got != "opening: there is no such camera" {
		t.Error(got)
	}
	if !errors.Is(Wrap(Corrupt, io.ErrUnexpectedEOF, "cut", ""), io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
}

func TestForeignErrorsStayInside(t *testing.T) {
	secret := errors.New("password hunter2 was refused")
	if got := Message(secret); got != "something went wrong inside" {
		t.Error(got)
	}
	if KindOf(secret) != Internal || Advice(secret) != "" || Is(nil, Internal) || In("x", nil) != nil {
		t.Error("foreign or no errors are taken for faults")
	}
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		if KindOf(fmt.Errorf("x: %w", err)) != Unavailable {
			t.Error(err)
		}
	}
	if Kind(200).String() != "internal" {
		t.Error("an unknown kind has a name")
	}
}

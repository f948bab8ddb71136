package main

import (
	"github.com/bartizan-vms/bartizan/node"
)

type verifyCmd struct {
	File   string `arg:"" help:"An MP4, or a raw H.264 or H.265 stream."`
	JSON   bool   `help:"Print JSON."`
	Trust  string `help:"PEM file of certificates that signers' certificates must lead to." placeholder:"FILE"`
	Logged string `help:"When the recording is known to have been there (RFC 3339, or a date): was the signer's certificate valid then?" placeholder:"TIME"`
}

// The exit codes of verify, but 0.
const (
	exitNotAuthentic exit = 1
	exitCannotTell   exit = 2
	exitUsage        exit = 3
)

// Help tells the exit codes.
func (verifyCmd) Help() string {
	return `Reads ONVIF Media Signing and Axis Signed Video.

Exit codes:
  0  authentic
  1  not authentic; or --trust was given and the signer's certificate is not to be trusted
  2  cannot tell: not signed, signed pictures are missing, there are pictures no signature covers, or the file cannot be read
  3  wrong use

Where a certificate leads to and what was valid when is told apart (provenance): without --trust it is unknown.
Pictures before the first signature and behind the last (leading, pending) do not change the verdict: a recording may begin and end anywhere.`
}

// Run verifies and ends with the exit code.
func (c verifyCmd) Run(s streams) error {
	at, err := timeFlag("logged", c.Logged)
	if err != nil {
		tell(s.err, err)
		return exitUsage
	}
	v, err := node.VerifyVideo(c.File, c.Trust, at)
	if err != nil {
		tell(s.err, err)
		return exitCannotTell
	}
	if err := v.Print(s.out, c.File, c.JSON); err != nil {
		tell(s.err, err)
		return exitCannotTell
	}
	switch v.Authentic().String() {
	case "ok":
		return nil
	case "not-ok":
		return exitNotAuthentic
	}
	return exitCannotTell
}

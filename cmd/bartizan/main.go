// Command bartizan is a secure video management system in one program. This
// package is only the door: it reads flags, asks node or, through api/client, a
// running node, prints, and turns faults into exit codes: 0 done, 1 it did not
// work (or check found something), 2 wrong use (verify: see its help). Its behaviour is told in
// testdata/script.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/bartizan-vms/bartizan/base/fault"
)

// version is set when building: -ldflags "-X main.version=...". Without, it is
// what Go knows of the source.
var version = ""

func built() string {
	if version != "" {
		return version
	}
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	name := b.Main.Version
	for _, s := range b.Settings {
		if s.Key == "vcs.revision" && (name == "" || name == "(devel)") {
			name = s.Value[:min(12, len(s.Value))]
		}
	}
	return name
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// streams are what a command talks through.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

type commands struct {
	Serve   serveCmd   `cmd:"" help:"Run a node: record cameras, serve the console."`
	Setup   setupCmd   `cmd:"" help:"Redeem the one-time set-up link and make the first administrator."`
	Camera  cameraCmd  `cmd:"" help:"Add, list, remove and probe cameras of a running node."`
	Person  personCmd  `cmd:"" help:"Invite, list, disable, reset and delete people of a running node."`
	People  peopleCmd  `cmd:"" help:"Who may what: roles, why somebody may or may not, access review."`
	Lists   listsCmd   `cmd:"" help:"Allow and deny lists in front of each interface."`
	Device  deviceCmd  `cmd:"" help:"Enrol, approve and revoke client devices of a running node."`
	Check   checkCmd   `cmd:"" help:"Compare recordings, index and keys; exit 1 when something is wrong."`
	Audit   auditCmd   `cmd:"" help:"Export and verify the audit log: who saw, changed or was refused what."`
	Verify  verifyCmd  `cmd:"" help:"Verify the signatures inside a video file: is it what the camera sent?"`
	Keys    keysCmd    `cmd:"" help:"Status, rotation and copies of the keys at rest."`
	Bans    bansCmd    `cmd:"" help:"List, add and lift bans of networks."`
	Bench   benchCmd   `cmd:"" help:"Measure this machine: record, fanout, seek."`
	Config  configCmd  `cmd:"" help:"Print every configuration key with its default."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

type exit int

// Error makes an exit code a failure that has told itself already.
func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) (code int) {
	// kong ends the program after --help through Exit; here that is a return.
	defer func() {
		switch v := recover().(type) {
		case nil:
		case exit:
			code = int(v)
		default:
			panic(v)
		}
	}()
	var c commands
	p, err := kong.New(&c, kong.Name("bartizan"), kong.Description("A secure video management system that brings its own network."),
		kong.Writers(out, errs), kong.Exit(func(n int) { panic(exit(n)) }), kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(streams{in, out, errs}))
	if err != nil {
		fmt.Fprintln(errs, "bartizan:", err)
		return 1
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := p.Parse(args)
	if err != nil {
		fmt.Fprintf(errs, "bartizan: %v\n`bartizan --help` shows what there is.\n", err)
		if args[0] == "verify" {
			return int(exitUsage)
		}
		return 2
	}
	if err := k.Run(); err != nil {
		return tell(errs, err)
	}
	return 0
}

// errTold is a failure that has told itself already.
var errTold = errors.New("told")

func tell(w io.Writer, err error) int {
	var code exit
	switch {
	case errors.Is(err, errTold):
		return 1
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintf(w, "bartizan: %s\n", err)
	if do := fault.Advice(err); do != "" {
		fmt.Fprintf(w, "  %s\n", strings.ToUpper(do[:1])+do[1:]+".")
	}
	if fault.Is(err, fault.Invalid) {
		return 2
	}
	return 1
}

type versionCmd struct{}

func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, "bartizan", built())
	return err
}

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bartizan-vms/bartizan/node/child"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"bartizan": main,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: map[string]func(*testscript.TestScript, bool, []string){
		"node": startNode, "take": take, "csr": newCSR,
	}})
}

// startNode is `node`: it starts and sets up a node in $WORK and tells the
// commands of it: BARTIZAN_URL, _CA and _TOKEN, DATA, and CODE0 to CODE9, codes
// of its administrator's second factor, each of which serves once. `stopnode`
// ends it.
func startNode(ts *testscript.TestScript, _ bool, _ []string) {
	var program string
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		p := filepath.Join(dir, "bartizan")
		if _, err := os.Stat(p); err == nil && program == "" {
			program = p
		}
	}
	n, err := child.New(child.Options{Program: program, Dir: ts.MkAbs(".")})
	ts.Check(err)
	ts.Check(n.Start(context.Background()))
	stop := func() { ts.Check(n.Stop()) } // twice is once
	ts.Defer(stop)
	ts.SetCmd("stopnode", func(*testscript.TestScript, bool, []string) { stop() })
	ts.Setenv("BARTIZAN_URL", n.URL)
	ts.Setenv("BARTIZAN_CA", filepath.Join(n.Data, "ca.pem"))
	ts.Setenv("BARTIZAN_TOKEN", n.Welcome.APIToken)
	ts.Setenv("DATA", n.Data)
	for i, c := range n.Welcome.RecoveryCodes {
		ts.Setenv(fmt.Sprintf("CODE%d", i), c)
	}
}

// take is `take NAME REGEXP`: what its first group finds in the last standard
// output becomes an environment variable.
func take(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("take NAME REGEXP")
	}
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("%s finds nothing", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// newCSR is `csr FILE`: a certificate request of a new key.
func newCSR(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), 0o600))
}

package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bartizan-vms/bartizan/base/timebase"
)

// authority writes ca.pem, and NAME.pem with NAME.key for each name, to a
// folder.
func authority(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	serial := int64(1)
	make := func(name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		serial++
		c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, BasicConstraintsValid: true, IsCA: parent == nil, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
		if parent == nil {
			parent, signer = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		k, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for file, b := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: k}} {
			if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made, key
	}
	ca, key := make("ca", nil, nil)
	for _, n := range names {
		make(n, ca, key)
	}
	return dir
}

const rsyslogd = "/usr/sbin/rsyslogd"

// rsyslog is a real receiver, by TLS with client certificates, into a file.
type rsyslog struct {
	t         *testing.T
	conf, out string
	cmd       *exec.Cmd
}

func newRsyslog(t *testing.T, certs string, port int) *rsyslog {
	t.Helper()
	missing := ""
	if _, err := os.Stat(rsyslogd); err != nil {
		missing = "rsyslog"
	} else if m, _ := filepath.Glob("/usr/lib/*/rsyslog/lmnsd_gtls.so"); len(m) == 0 {
		missing = "rsyslog-gnutls"
	}
	if missing != "" {
		if os.Getenv("BARTIZAN_PEERS") == "required" {
			t.Fatalf("the peer %s is missing: ./lab/tools.sh installs it", missing)
		}
		t.Skipf("SKIPPED: the peer %s is missing; ./lab/tools.sh installs it", missing)
	}
	dir := t.TempDir()
	r := &rsyslog{t: t, conf: filepath.Join(dir, "rsyslog.conf"), out: filepath.Join(dir, "out")}
	conf := fmt.Sprintf(`global(workDirectory=%q maxMessageSize="64k" DefaultNetstreamDriver="gtls"
  DefaultNetstreamDriverCAFile=%q DefaultNetstreamDriverCertFile=%q DefaultNetstreamDriverKeyFile=%q)
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/certvalid")
input(type="imtcp" address="127.0.0.1" port="%d")
template(name="all" type="string" string="%%syslogfacility-text%%|%%syslogseverity-text%%|%%app-name%%|%%msgid%%|%%structured-data%%|%%msg%%\n")
action(type="omfile" file=%q template="all")
`, dir, filepath.Join(certs, "ca.pem"), filepath.Join(certs, "server.pem"), filepath.Join(certs, "server.key"), port, r.out)
	if err := os.WriteFile(r.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	return r
}

func (r *rsyslog) start() {
	r.t.Helper()
	r.cmd = exec.Command(rsyslogd, "-n", "-f", r.conf, "-i", r.conf+".pid")
	var said bytes.Buffer
	r.cmd.Stderr = &said
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
}

// kill gives it no time to write anything.
func (r *rsyslog) kill() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		_ = os.Remove(r.conf + ".pid")
		r.cmd = nil
	}
}

var seqOfLine = regexp.MustCompile(` seq="(\d+)"`)

// entries are what arrived: texts by number, and the checkpoints.
func (r *rsyslog) entries() (texts map[int64]string, notes [][]byte) {
	texts = map[int64]string{}
	f, err := os.Open(r.out)
	if err != nil {
		return texts, nil
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		p := strings.SplitN(in.Text(), "|", 6)
		if len(p) != 6 {
			continue
		}
		if p[3] == "audit.checkpoint" {
			_, b, _ := strings.Cut(p[4], `note="`)
			b, _, _ = strings.Cut(b, `"`)
			if n, err := base64.StdEncoding.DecodeString(b); err == nil {
				notes = append(notes, n)
			}
			continue
		}
		if m := seqOfLine.FindStringSubmatch(p[4]); m != nil && p[0] == "audit" && p[2] == "bartizan" {
			n, _ := strconv.ParseInt(m[1], 10, 64)
			texts[n] = strings.TrimPrefix(p[5], " ")
		}
	}
	return texts, notes
}

// await waits until n entries and some checkpoints have arrived.
func (r *rsyslog) await(n, checkpoints int) map[int64]string {
	r.t.Helper()
	tick, late := time.NewTicker(50*time.Millisecond), time.NewTimer(40*time.Second)
	defer tick.Stop()
	defer late.Stop()
	for {
		texts, notes := r.entries()
		if len(texts) >= n && len(notes) >= checkpoints {
			return texts
		}
		select {
		case <-tick.C:
		case <-late.C:
			r.t.Fatalf("%d of %d entries arrived", len(texts), n)
		}
	}
}

// TestK10_NothingIsLostWhileTheReceiverIsAway tells a real rsyslog over TLS,
// kills it in the middle, and counts.
func TestK10_NothingIsLostWhileTheReceiverIsAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	certs := authority(t, "server", "node")
	r := newRsyslog(t, certs, port)
	m := &memory{}
	tr := New(m, sealer("k"), timebase.System())
	cfg, err := SyslogTLS(filepath.Join(certs, "ca.pem"), filepath.Join(certs, "node.pem"), filepath.Join(certs, "node.key"))
	if err != nil {
		t.Fatal(err)
	}
	tr.Syslog = &Syslog{Address: fmt.Sprintf("127.0.0.1:%d", port), TLS: cfg, Host: "node-1", Proc: "1", Settle: time.Second}
	told := make(chan error, 100)
	tr.Tell = func(err error) { told <- err }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tr.Run(ctx) }()
	n := 0
	record := func(more int) {
		t.Helper()
		for range more {
			n++
			e := view("anna", "gate")
			e.Detail = fmt.Sprintf("näh \"%d\" ] \\ \n end", n)
			if n%50 == 0 {
				e.Before = `{"x":"` + strings.Repeat("y", 20000) + `"}`
			}
			if err := tr.Record(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Nobody is there: it waits, and says so once.
	record(100)
	<-told
	r.start()
	r.await(n, 0)
	record(200)
	r.await(n-50, 0) // some are on their way
	r.kill()
	record(200)
	r.start()
	if _, err := tr.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	texts := r.await(n, 1)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for i := range m.links {
		body := string(m.links[i].Body)
		got, ok := texts[int64(i+1)]
		if (i+1)%50 != 0 && got != body || !ok || len(got) < 100 {
			t.Errorf("entry %d arrived as %q", i+1, got)
		}
	}
	key, _ := tr.Key(t.Context())
	_, notes := r.entries()
	for _, b := range notes {
		if s, err := OpenCheckpoint(b, key); err != nil || s.Size == 0 {
			t.Errorf("%+v, %v", s, err)
		}
	}
}

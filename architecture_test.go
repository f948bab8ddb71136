package bartizan

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/bartizan-vms/bartizan"

// may says which of our places a place may import. The longest matching place
// rules. A place ending in "/..." means everything below; "words" are the root
// packages of the houses. Tests (files ending in _test.go) may open any door.
var may = []struct {
	place string
	leans []string
	why   string
}{
	{"base/...", []string{"base/..."}, "the ground leans on nothing but itself"},
	{"wire/...", []string{"base/...", "wire/..."}, "protocols know nothing of us"},
	{"security", []string{"base/..."}, "the words of security"},
	{"security/...", []string{"base/...", "wire/...", "security"}, "rooms lean on words, base and wire; never on another room"},
	{"vms", []string{"base/...", "wire/media", "security"}, "the words of X.1453; an access unit is the same thing on the wire and in the house, so its type is not written twice"},
	{"vms/...", []string{"base/...", "wire/...", "vms", "security"}, "rooms lean on words, base and wire"},
	{"naas", []string{"base/...", "security"}, "the words of X.1604"},
	{"naas/...", []string{"base/...", "wire/...", "naas", "security"}, "rooms lean on words, base and wire"},
	{"response", []string{"base/...", "vms", "naas", "security"}, "where the houses meet; words only"},
	{"engine/...", []string{"base/...", "wire/...", "vms", "naas", "security"}, "what crosses the wall is a word"},
	{"api/...", []string{"base/...", "wire/media", "vms", "naas", "security", "api/..."}, "decides nothing; words only"},
	{"api/viewers", []string{"base/...", "wire/...", "vms", "security"}, "the RTSP face speaks the wire protocol it is named for, as api speaks HTTP"},
	{"console", []string{"base/..."}, "static files"},
	{"lab/...", []string{"base/...", "wire/...", "lab/..."}, "simulated cameras speak the wire, not the house"},
	{"node/...", []string{"..."}, "introduces rooms to engines"},
	{"cmd/...", []string{"base/...", "node", "node/...", "api", "api/client"}, "the door; api for the types that client speaks in"},
	{"conformance/...", []string{"..."}, "trials may see everything"},
}

// sideways lists the exceptions to the table, each with its reason.
var sideways = map[[2]string]string{
	{"engine/sqlite", "security/authentication"}: "the room's Store speaks of its own rows (people, passes); nobody else needs these words",
	{"engine/sqlite", "security/audit"}:          "the trail's Store and Tx, by which an entry is written in the transaction of its change",
}

// insides of a room are seen by the room only; a room may have rooms of its
// own under internal/.
func inside(from, to string) bool {
	i := strings.Index(to, "/internal/")
	return i >= 0 && (from == to[:i] || strings.HasPrefix(from, to[:i]+"/"))
}

// doors says where a foreign module may enter. What is not named here may not
// enter at all.
var doors = map[string][]string{
	"github.com/coreos/go-oidc/v3":     {"security/authentication"},
	"github.com/go-webauthn/webauthn":  {"security/authentication"},
	"golang.org/x/oauth2":              {"security/authentication"},
	"github.com/alecthomas/kong":       {"cmd"},
	"github.com/cedar-policy/cedar-go": {"security/access"},
	"github.com/coder/websocket":       {"api", "lab"},
	"github.com/danielgtaylor/huma/v2": {"api"},
	"github.com/corazawaf":             {"engine/coraza"},
	"github.com/miekg/pkcs11":          {"engine/pkcs11"},
	"github.com/pion":                  {"wire"},
	"github.com/pquerna/otp":           {"security/authentication"},
	"github.com/pressly/goose/v3":      {"engine/sqlite"},
	"golang.org/x/crypto":              {"security"},
	"golang.org/x/sync":                {"vms", "engine", "security", "node", "api"},
	"golang.org/x/mod":                 {"security", "engine/sqlite"},
	"golang.org/x/sys":                 {"engine", "base", "cmd", "wire/rtsp", "wire/syslog", "node"},
	"golang.org/x/time":                {"api", "security", "wire"},
	"gopkg.in/yaml.v3":                 {"node"},
	"modernc.org/sqlite":               {"engine/sqlite"},
}

func matches(pattern, place string) bool {
	if pattern == "..." {
		return true
	}
	if p, ok := strings.CutSuffix(pattern, "/..."); ok {
		return place == p || strings.HasPrefix(place, p+"/")
	}
	return pattern == place
}

func allowed(from, to string) bool {
	if from == to || inside(from, to) {
		return true
	}
	if _, ok := sideways[[2]string{from, to}]; ok {
		return true
	}
	best := -1
	for i, m := range may {
		p, below := strings.CutSuffix(m.place, "/...")
		switch {
		case !below && from == p:
			best = i
		case below && strings.HasPrefix(from+"/", p+"/") && (best < 0 || strings.HasSuffix(may[best].place, "/...") && len(p) > len(may[best].place)-4):
			best = i
		}
		if best == i && !below {
			break
		}
	}
	if best < 0 {
		return false
	}
	return slices.ContainsFunc(may[best].leans, func(l string) bool { return matches(l, to) })
}

type source struct {
	path, dir string // relative to the module
	test      bool
	file      *ast.File
	bytes     []byte
}

func sources(t *testing.T, fset *token.FileSet) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == "data" || strings.HasPrefix(d.Name(), ".") && p != ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(p) != ".go" {
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(b, []byte("//go:build tools")) {
			return nil
		}
		f, err := parser.ParseFile(fset, p, b, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{path: filepath.ToSlash(p), dir: filepath.ToSlash(filepath.Dir(p)), test: strings.HasSuffix(p, "_test.go"), file: f, bytes: b})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d Go files: the test looks in the wrong place", len(all))
	}
	return all
}

func TestWhoMayLeanOnWhom(t *testing.T) {
	fset := token.NewFileSet()
	for _, s := range sources(t, fset) {
		if s.test {
			continue
		}
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			switch {
			case path == module || strings.HasPrefix(path, module+"/"):
				to := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
				if !allowed(s.dir, to) {
					t.Errorf("%s: %s may not import %s", fset.Position(imp.Pos()), s.dir, to)
				}
			case strings.Contains(strings.SplitN(path, "/", 2)[0], "."):
				if why := foreign(path, s.dir); why != "" {
					t.Errorf("%s: %s", fset.Position(imp.Pos()), why)
				}
			}
		}
	}
}

func foreign(path, dir string) string {
	for mod, at := range doors {
		if path != mod && !strings.HasPrefix(path, mod+"/") {
			continue
		}
		for _, d := range at {
			if dir == d || strings.HasPrefix(dir, d+"/") {
				return ""
			}
		}
		return fmt.Sprintf("%s enters only by %s, not by %s", mod, strings.Join(at, ", "), dir)
	}
	return fmt.Sprintf("%s has no door: add it to doors with a reason, or do without", path)
}

func TestEveryExceptionIsNeeded(t *testing.T) {
	used := map[[2]string]bool{}
	for _, s := range sources(t, token.NewFileSet()) {
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			used[[2]string{s.dir, strings.TrimPrefix(path, module+"/")}] = true
		}
	}
	for e, why := range sideways {
		if why == "" {
			t.Errorf("exception %v has no reason", e)
		}
		if !used[e] {
			t.Errorf("exception %v is no longer needed: remove it", e)
		}
	}
}

func TestFilesStaySmall(t *testing.T) {
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "dist" || d.Name() == "data" || strings.HasPrefix(d.Name(), ".") && p != ".") {
			return filepath.SkipDir
		}
		switch filepath.Ext(p) {
		case ".go", ".ts", ".svelte", ".css", ".mjs", ".sh":
		default:
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if bytes.Contains(b[:min(len(b), 400)], []byte("auto-generated by openapi-typescript")) {
			return nil // made from api/openapi.json; nobody reads it
		}
		if n := bytes.Count(b, []byte("\n")); n > 800 {
			t.Errorf("%s has %d lines: more than 800 is two ideas", p, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHabits(t *testing.T) {
	fset := token.NewFileSet()
	commented := map[string]int{}
	packages := map[string]bool{}
	for _, s := range sources(t, fset) {
		name := s.file.Name.Name
		if slices.Contains([]string{"util", "utils", "common", "helpers", "misc", "pkg"}, strings.TrimSuffix(name, "_test")) {
			t.Errorf("%s: no package is named %s", s.path, name)
		}
		if first := strings.SplitN(s.dir, "/", 2)[0]; first == "internal" || first == "pkg" {
			t.Errorf("%s: rooms hide their insides in their own internal/", s.path)
		}
		if !s.test {
			packages[s.dir] = true
			if s.file.Doc != nil && len(s.file.Doc.Text()) > 40 {
				commented[s.dir]++
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s: no init()", fset.Position(n.Pos()))
				}
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && s.test && sel.Sel.Name == "Sleep" {
					if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && !bytes.Contains(s.bytes, []byte("synctest.Test(")) {
						t.Errorf("%s: tests do not sleep: wait for what must happen", fset.Position(n.Pos()))
					}
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "exec" && !s.test && (n.Sel.Name == "Command" || n.Sel.Name == "CommandContext") {
					if !strings.HasPrefix(s.dir, "engine/") && !strings.HasPrefix(s.dir, "cmd/") && !strings.HasPrefix(s.dir, "lab/") && s.dir != "node/child" {
						t.Errorf("%s: only engines start other programs (and node/child, which starts ourselves)", fset.Position(n.Pos()))
					}
				}
			}
			return true
		})
	}
	for p := range packages {
		if p != "." && commented[p] != 1 {
			t.Errorf("%s: %d package comments, want exactly one that says what it is and what holds", p, commented[p])
		}
	}
}

func TestNoRoomImportsItself(t *testing.T) {
	leans := map[string]map[string]bool{}
	for _, s := range sources(t, token.NewFileSet()) {
		if s.test {
			continue
		}
		top := strings.SplitN(s.dir, "/", 2)[0]
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			if to, ok := strings.CutPrefix(path, module+"/"); ok {
				if t2 := strings.SplitN(to, "/", 2)[0]; t2 != top {
					if leans[top] == nil {
						leans[top] = map[string]bool{}
					}
					leans[top][t2] = true
				}
			}
		}
	}
	var visit func(at string, way []string)
	visit = func(at string, way []string) {
		if i := slices.Index(way, at); i >= 0 {
			t.Errorf("a circle: %s", strings.Join(append(way[i:], at), " > "))
			return
		}
		for to := range leans[at] {
			visit(to, append(slices.Clone(way), at))
		}
	}
	for at := range leans {
		visit(at, nil)
	}
}

// Package published runs the tests that another project publishes with its module
// against a facade that stands for it. They are read out of the module cache, with
// the package clause and imports rewritten, and handed to the go command as an
// overlay: nothing of them is kept.
package published

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Suite says which tests of a project are to be run.
type Suite struct {
	Module string   // whose tests they are; the caller's go.mod requires it
	Files  []string // with tests, in the module
	Extra  string   // what stands for the project: imports, and declarations of the names that its tests use
	Run    []string // tests that must be there, run and pass
	// CannotRun are tests that must be there and are left out, with the reason.
	CannotRun map[string]string
	// Replace are pairs of source text, old and new: each old one must occur.
	Replace []string
}

// Run runs the suite. It fails if a test is missing, new or does not pass.
func Run(t *testing.T, s Suite) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	moduleDir := goList(ctx, t, "-m", s.Module)
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	overlay, found := s.rewrite(t, moduleDir, filepath.Join(here, "published"))
	if err := s.expected(found); err != nil {
		t.Fatal(err)
	}
	passed, output := run(ctx, t, overlay)
	for _, name := range s.Run {
		if !passed[name] {
			t.Errorf("%s: %s did not pass", s.Module, name)
		}
	}
	if t.Failed() {
		t.Fatal(output)
	}
	t.Logf("%s: %d of its tests pass", s.Module, len(s.Run))
	for _, name := range slices.Sorted(maps.Keys(s.CannotRun)) {
		t.Logf("left out %s: %s", name, s.CannotRun[name])
	}
}

// expected returns an error unless the tests found are those that the suite names.
func (s *Suite) expected(found []string) error {
	if len(s.Run) == 0 {
		return fmt.Errorf("no test of %s is to be run", s.Module)
	}
	named := slices.Concat(s.Run, slices.Collect(maps.Keys(s.CannotRun)))
	slices.Sort(named)
	if found = slices.Sorted(slices.Values(found)); !slices.Equal(found, named) {
		return fmt.Errorf("%s has the tests\n%q, expected are\n%q", s.Module, found, named)
	}
	return nil
}

func goList(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(ctx, "go", append([]string{"list", "-f", "{{.Dir}}"}, args...)...).Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Fatalf("go list %q: %v: %s", args, err, stderr(err))
	}
	return dir
}

func stderr(err error) []byte {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.Stderr
	}
	return nil
}

// rewrite writes the tests to a temporary directory and returns an overlay that has
// them in dir, and the names of all tests found.
func (s *Suite) rewrite(t *testing.T, moduleDir, dir string) (overlay string, found []string) {
	t.Helper()
	temporary := t.TempDir()
	replace := make(map[string]string)
	write := func(name string, source []byte) {
		t.Helper()
		path := filepath.Join(temporary, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(path, source, 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(dir, filepath.Base(path))] = path
	}
	replaced := make(map[string]bool)
	for _, name := range s.Files {
		source, err := os.ReadFile(filepath.Join(moduleDir, name))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(s.Replace); i += 2 {
			if bytes.Contains(source, []byte(s.Replace[i])) {
				replaced[s.Replace[i]] = true
				source = bytes.ReplaceAll(source, []byte(s.Replace[i]), []byte(s.Replace[i+1]))
			}
		}
		rewritten, tests, err := s.rewriteFile(source)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found = append(found, tests...)
		if s.anyRuns(tests) {
			write(name, rewritten)
		}
	}
	for i := 0; i < len(s.Replace); i += 2 {
		if !replaced[s.Replace[i]] {
			t.Fatalf("%s has no %q any more", s.Module, s.Replace[i])
		}
	}
	if s.Extra != "" {
		write("extra_test.go", []byte("package published\n\n"+s.Extra))
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(temporary, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay, found
}

func (s *Suite) anyRuns(tests []string) bool {
	return slices.ContainsFunc(tests, func(name string) bool { return slices.Contains(s.Run, name) })
}

// rewriteFile drops the tests that cannot run and returns the names of all.
func (s *Suite) rewriteFile(source []byte) (rewritten []byte, tests []string, err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	file.Name.Name = "published"
	file.Decls = slices.DeleteFunc(file.Decls, func(d ast.Decl) bool {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
			return false
		}
		tests = append(tests, f.Name.Name)
		_, out := s.CannotRun[f.Name.Name]
		return out
	})
	blankUnused(file)
	file.Comments = nil // whose positions the dropped tests have upset
	var b bytes.Buffer
	err = format.Node(&b, files, file)
	return b.Bytes(), tests, err
}

// blankUnused gives the imports that only dropped tests used a blank name.
func blankUnused(file *ast.File) {
	used := make(map[string]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := selector.X.(*ast.Ident); ok {
				used[x.Name] = true
			}
		}
		return true
	})
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.IMPORT {
			continue
		}
		for _, spec := range g.Specs {
			i := spec.(*ast.ImportSpec)
			path, _ := strconv.Unquote(i.Path.Value)
			if i.Name == nil && !used[path[strings.LastIndex(path, "/")+1:]] {
				i.Name = ast.NewIdent("_")
			}
		}
	}
}

// run returns the tests that passed. They are built and run in two steps, as the go
// command runs tests in the directory of their package, and this one does not exist.
func run(ctx context.Context, t *testing.T, overlay string) (passed map[string]bool, output string) {
	t.Helper()
	binary := filepath.Join(filepath.Dir(overlay), "published.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay="+overlay, "-o="+binary, "./published")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	tests := exec.CommandContext(ctx, binary, "-test.v", "-test.timeout=2m")
	tests.Dir = filepath.Dir(overlay)
	tests.WaitDelay = 5 * time.Second
	out, err := tests.CombinedOutput()
	if err != nil {
		t.Errorf("the tests: %v", err)
	}
	passed = make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		if rest, found := strings.CutPrefix(line, "--- PASS: "); found {
			name, _, _ := strings.Cut(rest, " ")
			passed[name] = true
		}
	}
	return passed, string(out)
}

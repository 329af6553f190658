// Command frameworks writes the table of what works in which framework into README.md
// and docs/frameworks.md, between their markers, from the tests that prove it. It
// fails if one of these does not exist.
//
//	frameworks [-check] ROOT
//
// With -check it writes nothing and fails if a file is not as it would write it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "only compare")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: frameworks [-check] ROOT")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *check); err != nil {
		fmt.Fprintln(os.Stderr, "frameworks:", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	var problems []error
	for i := range frameworks {
		f := &frameworks[i]
		if f.app != "" {
			f.add(browser)
			problems = append(problems, inBrowser(root, f.app))
		}
		for _, p := range f.proofs {
			problems = append(problems, p.exists(root))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return errors.Join(
		update(filepath.Join(root, "README.md"), summary(), check),
		update(filepath.Join(root, "docs", "frameworks.md"), details(), check))
}

// add adds proofs of columns that have none.
func (f *framework) add(proofs map[column]proof) {
	for c, p := range proofs {
		if _, has := f.proofs[c]; !has {
			f.proofs[c] = p
		}
	}
}

// declared says how a test is declared, by the file's suffix.
var declared = map[string]string{
	".go":  `(?m)^func %s\(t \*testing\.T\)`,
	".py":  `(?m)^def %s\(`,
	".mjs": `\btest\("%s",`,
}

// exists returns an error unless the test and its part do.
func (p proof) exists(root string) error {
	text, err := os.ReadFile(filepath.Join(root, p.file))
	if err != nil {
		return err
	}
	if !regexp.MustCompile(fmt.Sprintf(declared[filepath.Ext(p.file)], regexp.QuoteMeta(p.test))).Match(text) {
		return fmt.Errorf("%s has no test %q", p.file, p.test)
	}
	if p.partFile != "" {
		if !strings.Contains(string(text), "adaptertest.Run(t,") {
			return fmt.Errorf("%s does not run the adapters' suite", p.file)
		}
		if text, err = os.ReadFile(filepath.Join(root, p.partFile)); err != nil {
			return err
		}
	}
	if p.part != "" && !strings.Contains(string(text), fmt.Sprintf("t.Run(%q,", p.part)) {
		return fmt.Errorf("%s has no part %q", p.name(), p.part)
	}
	return nil
}

func (p proof) name() string {
	if p.part == "" {
		return p.test
	}
	return p.test + ": " + p.part
}

// inBrowser returns an error unless the browser's test has the app.
func inBrowser(root, app string) error {
	text, err := os.ReadFile(filepath.Join(root, "verify/domain_test.go"))
	if err != nil {
		return err
	}
	apps := regexp.MustCompile(`domainApps = \[\]string\{.*\}`).Find(text)
	if !strings.Contains(string(apps), fmt.Sprintf("%q", app)) {
		return fmt.Errorf("verify/domain_test.go does not test the app %q", app)
	}
	return nil
}

// summary is the table of README.md.
func summary() string {
	return table(func(f framework) string { return f.name }, func(proof) string { return "✓" }) + notes()
}

// details is the part of docs/frameworks.md.
func details() string {
	var b strings.Builder
	b.WriteString(table(
		func(f framework) string { return f.name + ", by " + f.by },
		func(p proof) string {
			return fmt.Sprintf("[✓](../%s %q)", p.file, strings.ReplaceAll(p.name(), `"`, "'"))
		}))
	b.WriteString("\n")
	for _, c := range columns {
		fmt.Fprintf(&b, "- **%s**: %s\n", c.title, c.about)
	}
	b.WriteString(notes())
	return b.String()
}

func table(name func(framework) string, cell func(proof) string) string {
	var b strings.Builder
	b.WriteString("| |")
	for _, c := range columns {
		b.WriteString(" " + c.title + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat(":-:|", len(columns)) + "\n")
	for _, f := range frameworks {
		b.WriteString("| " + name(f) + " |")
		for _, c := range columns {
			p, has := f.proofs[c]
			switch {
			case has:
				b.WriteString(" " + cell(p) + " |")
			case f.lacks[c] != "":
				b.WriteString(" – |")
			default:
				b.WriteString(" |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// notes say what the table's dashes mean.
func notes() string {
	var b strings.Builder
	for _, c := range columns {
		names := make(map[string][]string)
		var reasons []string
		for _, f := range frameworks {
			why := f.lacks[c]
			if why == "" {
				continue
			}
			if names[why] == nil {
				reasons = append(reasons, why)
			}
			names[why] = append(names[why], f.name)
		}
		for _, why := range reasons {
			fmt.Fprintf(&b, "\n– %s: %s.\n", strings.Join(names[why], ", "), why)
		}
	}
	return b.String()
}

const (
	begin = "<!-- from here on written by scripts/frameworks -->\n"
	end   = "<!-- up to here -->\n"
)

// update puts text between the markers of a file.
func update(file, text string, check bool) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return fmt.Errorf("%s lacks the markers %q and %q", file, begin, end)
	}
	updated := before + begin + "\n" + text + "\n" + end + after
	switch {
	case updated == string(old):
		return nil
	case check:
		return fmt.Errorf("%s is not up to date: run scripts/frameworks", file)
	}
	return os.WriteFile(file, []byte(updated), 0o644)
}

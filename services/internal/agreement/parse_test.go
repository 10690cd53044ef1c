package agreement

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/leadbaton/baton/services/internal/document"
)

var update = flag.Bool("update", false, "rewrite the findings and sheets in testdata")

// exampleDocument is the agreement that ships in the binary.
func exampleDocument(tb testing.TB) []byte {
	tb.Helper()
	doc, err := os.ReadFile(filepath.Join("..", "..", "cmd", "baton", "example", "agreement.yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	return doc
}

func render(fs []document.Finding) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

func show(t *testing.T, a *Agreement) string {
	t.Helper()
	var b bytes.Buffer
	if err := Show(&b, a); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Each archive in testdata holds documents, each followed by what is found in it (documents named lint-* by Lint, the
// others by Parse) and, if it is valid, by what Show makes of it.
func TestDocuments(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("testdata: %v, %v", paths, err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, f := range archive.Files {
			want[f.Name] = string(f.Data)
		}
		out := &txtar.Archive{Comment: archive.Comment}
		for _, f := range archive.Files {
			name, ok := strings.CutSuffix(f.Name, ".yaml")
			if !ok {
				continue
			}
			out.Files = append(out.Files, f)
			got := func(suffix, text string) {
				if text != want[name+suffix] && !*update {
					t.Errorf("%s: %s%s:\n%swant:\n%s", path, name, suffix, text, want[name+suffix])
				}
				out.Files = append(out.Files, txtar.File{Name: name + suffix, Data: []byte(text)})
			}
			a, findings := Parse(f.Data)
			if (a == nil) != document.Invalid(findings) {
				t.Errorf("%s: %s: an agreement beside errors, or none without", path, name)
			}
			if strings.HasPrefix(name, "lint-") {
				findings = Lint(f.Data)
			}
			got(".findings", render(findings))
			if a != nil {
				got(".show", show(t, a))
			}
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The example that ships is valid; what it says that is not in force yet is a warning.
func TestExample(t *testing.T) {
	a, findings := Parse(exampleDocument(t))
	if a == nil {
		t.Fatalf("the example is not valid:\n%s", render(findings))
	}
	if got := render(Lint(exampleDocument(t))); got != render(findings) {
		t.Errorf("lint has advice on the example:\n%s", got)
	}
	for file, got := range map[string]string{"example.findings": render(findings), "example.show": show(t, a)} {
		path := filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n%s", file, got)
		}
	}
}

// The words of the example's comments that say what is not in force must keep to the table of the design.
func TestNotInForce(t *testing.T) {
	_, findings := Parse(exampleDocument(t))
	got := map[string]bool{}
	for _, f := range findings {
		got[f.Path] = true
	}
	for _, path := range []string{
		"review", "account", "escalation", "targets", "signers", "sla.sales.acknowledge", "sla.sales.followUp",
		"sla.sales.feedback", "sla.sales.outcome", "sla.sales.coverage", "sla.marketing", "qualification.again.lost.to",
		"qualification.paths[hand-raise].sla.acknowledge", "qualification.paths[hand-raise].sla.followUp",
		"reasons.reject[wrong-territory].then",
	} {
		if !got[path] {
			t.Errorf("%s: no warning", path)
		}
		delete(got, path)
	}
	for path := range got {
		t.Errorf("%s: unexpected warning", path)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(exampleDocument(f))
	paths, _ := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if strings.HasSuffix(file.Name, ".yaml") {
				f.Add(file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		a, findings := Parse(doc)
		if (a == nil) != document.Invalid(findings) {
			t.Fatalf("agreement %v beside findings %v", a != nil, findings)
		}
		lines := bytes.Count(doc, []byte("\n")) + 1
		for _, finding := range findings {
			if finding.Line < 1 || finding.Line > lines || finding.Column < 1 || finding.Message == "" || finding.Path == "" {
				t.Errorf("finding %+v in a document of %d lines", finding, lines)
			}
		}
		if a == nil {
			return
		}
		show(t, a)
		for _, path := range a.Paths {
			if path.Rule >= len(a.Rules) || path.Deliver <= 0 || path.Clock == "" {
				t.Errorf("path %+v", path)
			}
		}
		for i, r := range a.Rules {
			if r.Group >= len(a.Groups) || len(r.On) == 0 {
				t.Errorf("rule %d: %+v", i, r)
			}
			for _, on := range r.On {
				compareIndex(t, a, strings.TrimSuffix(on, "*"))
				compareIndex(t, a, strings.TrimSuffix(on, "*")+".more")
			}
		}
	})
}

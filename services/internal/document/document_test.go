package document

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the findings in testdata")

// render is how findings stand in testdata.
func render(fs []Finding) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

func TestSyntax(t *testing.T) {
	path := filepath.Join("testdata", "syntax.txtar")
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range archive.Files {
		if name, ok := strings.CutSuffix(f.Name, ".findings"); ok {
			want[name] = string(f.Data)
		}
	}
	out := &txtar.Archive{Comment: archive.Comment}
	for _, f := range archive.Files {
		name, ok := strings.CutSuffix(f.Name, ".yaml")
		if !ok {
			continue
		}
		d := Parse(f.Data)
		got := render(d.Findings())
		if !Invalid(d.Findings()) {
			t.Errorf("%s: nothing was found", name)
		}
		if got != want[name] && !*update {
			t.Errorf("%s:\n%swant:\n%s", name, got, want[name])
		}
		out.Files = append(out.Files, f, txtar.File{Name: name + ".findings", Data: []byte(got)})
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLimits(t *testing.T) {
	for name, c := range map[string]struct{ doc, want string }{
		"size":      {strings.Repeat("#", MaxSize+1), "1:1: error: document: the document has 262145 bytes; at most 262144 are read\n"},
		"not UTF-8": {"name: a\nmarket: \xffx\n", "2:9: error: document: the document is not UTF-8 text here; save it as UTF-8\n"},
		"UTF-16":    {"\xff\xfen\x00", "1:1: error: document: the document is not UTF-8 text here; save it as UTF-8\n"},
	} {
		if got := render(Parse([]byte(c.doc)).Findings()); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if fs := Parse([]byte(strings.Repeat(" ", MaxSize-4) + "a: b")).Findings(); len(fs) > 0 {
		t.Errorf("a document of the greatest size: %v", fs)
	}
}

// A list of findings is cut, but an error is never lost behind warnings.
func TestManyFindings(t *testing.T) {
	var b strings.Builder
	for i := range 300 {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	d := Parse([]byte(b.String()))
	m := d.Root().Map()
	for i := range 150 {
		m.Get(fmt.Sprintf("k%d", i), NotInForce)
	}
	if fs := d.Findings(); len(fs) != MaxFindings || Invalid(fs) {
		t.Errorf("%d findings, invalid %v; want %d warnings", len(fs), Invalid(fs), MaxFindings)
	}
	m.Done()
	if fs := d.Findings(); !Invalid(fs) || len(fs) != MaxFindings+1 {
		t.Errorf("%d findings, invalid %v; want %d and the last an error", len(fs), Invalid(fs), MaxFindings+1)
	}
}

// A document that cannot be read must not bury its one error under errors of what is missing.
func TestUnreadableDocumentHasOneFinding(t *testing.T) {
	d := Parse([]byte("a: [1"))
	m := d.Root().Map()
	m.Text("name", Required)
	m.Map("rules", Required).ID("id", Required)
	m.Done()
	if fs := d.Findings(); len(fs) != 1 {
		t.Errorf("findings: %v", fs)
	}
}

func FuzzParse(f *testing.F) {
	archive, err := txtar.ParseFile(filepath.Join("testdata", "syntax.txtar"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		f.Add(file.Data)
	}
	f.Add([]byte("name: b2b\nrules:\n  - {id: one, when: 'a == \"b\"', points: -1.5, per: 7d, at: 50%, on: 2026-12-21}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := Parse(data)
		visit(d.Root())
		lines := strings.Count(string(data), "\n") + 1
		for _, finding := range d.Findings() {
			if finding.Line < 1 || finding.Column < 1 || finding.Line > lines || finding.Message == "" {
				t.Errorf("finding %+v of a document of %d lines", finding, lines)
			}
		}
	})
}

// visit reads every node in every way.
func visit(n Node) {
	n.Value()
	n.Text()
	n.ID()
	n.Duration()
	n.Points()
	n.Percent()
	n.Date()
	n.TimeOfDay()
	n.Bool()
	n.Int(0, 10)
	n.Enum("one", "two")
	n.ErrorWithin(1, 5, "here")
	n.ErrorWithin(2, 3, "here")
	if n.IsList() {
		for _, item := range n.List() {
			visit(item)
		}
	}
	if n.IsMap() {
		m := n.Map()
		m.Get("id", Required)
		for _, e := range m.Entries() {
			visit(e.Value)
		}
		m.Done()
	}
}

package roster_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests must not depend on the machine's zones

	"github.com/rogpeppe/go-internal/txtar"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	"github.com/leadbaton/baton/services/internal/attribute"
	"github.com/leadbaton/baton/services/internal/condition"
	"github.com/leadbaton/baton/services/internal/document"
	"github.com/leadbaton/baton/services/internal/roster"
)

// Run `go test ./internal/roster -update` to write what the tests see into testdata, then read the difference.
var update = flag.Bool("update", false, "write the golden files")

// example is the roster that Baton ships.
func example(t testing.TB) *roster.Roster {
	t.Helper()
	doc, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, doc)
}

func parse(t testing.TB, doc []byte) *roster.Roster {
	t.Helper()
	r, fs := roster.Parse(doc)
	if r == nil {
		t.Fatalf("the roster does not parse:\n%s", findings(fs))
	}
	return r
}

func findings(fs []document.Finding) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// golden holds what a test saw against the part of a txtar file, or writes it there.
func golden(t *testing.T, file string, ar *txtar.Archive, part, got string) {
	t.Helper()
	i := slices.IndexFunc(ar.Files, func(f txtar.File) bool { return f.Name == part })
	if i < 0 {
		ar.Files = append(ar.Files, txtar.File{Name: part})
		i = len(ar.Files) - 1
	}
	if *update {
		ar.Files[i].Data = []byte(got)
		if err := os.WriteFile(file, txtar.Format(ar), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := string(ar.Files[i].Data); got != want {
		t.Errorf("%s: %s is\n%s\nwant\n%s\n(go test ./internal/roster -update writes it)", file, part, got, want)
	}
}

func section(ar *txtar.Archive, name string) []byte {
	for _, f := range ar.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

func archives(t *testing.T, pattern string, run func(t *testing.T, file string, ar *txtar.Archive)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files match %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			run(t, file, ar)
		})
	}
}

// Each file has a roster (roster.yaml; the example one if absent), the leads that come in (leads.txt), and who got
// them and why (want.txt). A line of leads.txt:
//
//	2026-11-16 10:00 Europe/Berlin country=DE [rep:open=3,today=1 ...] [x=times] [employees=...]
//
// What is handed out counts for the lines after it.
func TestChoose(t *testing.T) {
	archives(t, "testdata/choose/*.txtar", func(t *testing.T, file string, ar *txtar.Archive) {
		r := example(t)
		if doc := section(ar, "roster.yaml"); doc != nil {
			r = parse(t, doc)
		}
		desk := &desk{r: r, loads: map[string]roster.Load{}}
		var out bytes.Buffer
		for _, line := range strings.Split(string(section(ar, "leads.txt")), "\n") {
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			fmt.Fprintf(&out, "%s\n", line)
			desk.line(t, &out, line)
		}
		golden(t, file, ar, "want.txt", out.String())
	})
}

// desk hands out leads one after the other.
type desk struct {
	r     *roster.Roster
	loads map[string]roster.Load
	turns roster.Turns
	seed  uint64
}

func (d *desk) line(t *testing.T, out *bytes.Buffer, line string) {
	t.Helper()
	words := strings.Fields(line)
	zone, err := time.LoadLocation(words[2])
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", words[0]+" "+words[1], zone)
	if err != nil {
		t.Fatal(err)
	}
	lead, account := attribute.Map{}, attribute.Map{}
	q := roster.Request{Now: at, Loads: d.loads, Turns: &d.turns, Scope: condition.Scope{Lead: lead, Account: account}}
	times := 1
	for _, w := range words[3:] {
		if rep, load, ok := strings.Cut(w, ":"); ok {
			var l roster.Load
			for _, kv := range strings.Split(load, ",") {
				k, v, _ := strings.Cut(kv, "=")
				n, err := strconv.ParseInt(v, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				switch k {
				case "open":
					l.Open = n
				case "today":
					l.Today = n
				}
			}
			d.loads[rep] = l
			continue
		}
		switch k, v, _ := strings.Cut(w, "="); k {
		case "x":
			if times, err = strconv.Atoi(v); err != nil {
				t.Fatal(err)
			}
		case "employees":
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			account[k] = attribute.IntOf(n)
		default:
			lead[k] = attribute.TextOf(v)
		}
	}
	if times == 1 {
		d.seed++
		q.Seed = d.seed
		dec, err := roster.Try(out, d.r, q)
		if err != nil {
			t.Fatal(err)
		}
		d.take(dec, at)
		return
	}
	given := map[string]int{}
	var order []string
	for range times {
		d.seed++
		q.Seed = d.seed
		dec := d.r.Choose(q)
		who := "nobody"
		if dec.Rep != nil {
			who = dec.Rep.ID
		}
		given[who]++
		order = append(order, who)
		d.take(dec, at)
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for n := range given {
			if !yield(n) {
				return
			}
		}
	})
	if times <= 12 {
		fmt.Fprintf(out, "  in this order: %s\n", strings.Join(order, " "))
	}
	for _, n := range names {
		fmt.Fprintf(out, "  %d to %s\n", given[n], n)
	}
}

// take notes a decision as the router does.
func (d *desk) take(dec roster.Decision, at time.Time) {
	if dec.Rep == nil {
		d.turns.Held(d.r, &handoffv1.HandoffHeld{PassedOver: dec.PassedOver}, at.UnixNano())
		return
	}
	d.turns.Assigned(d.r, assigned(dec), at.UnixNano())
	l := d.loads[dec.Rep.ID]
	l.Open++
	l.Today++
	d.loads[dec.Rep.ID] = l
}

func assigned(dec roster.Decision) *handoffv1.HandoffAssigned {
	a := &handoffv1.HandoffAssigned{Team: dec.Team.ID, Rep: dec.Rep.ID, Reason: dec.Reason, PassedOver: dec.PassedOver}
	if dec.Covers != nil {
		a.Covers = dec.Covers.ID
	}
	return a
}

// Each file has a document (roster.yaml) and everything that is to say of it (want.txt).
func TestParse(t *testing.T) {
	archives(t, "testdata/parse/*.txtar", func(t *testing.T, file string, ar *txtar.Archive) {
		r, fs := roster.Parse(section(ar, "roster.yaml"))
		if (r == nil) != document.Invalid(fs) {
			t.Errorf("roster is %v, but invalid is %v", r, document.Invalid(fs))
		}
		golden(t, file, ar, "want.txt", findings(fs))
	})
}

func TestTheExampleHasNoErrors(t *testing.T) {
	r := example(t)
	if got := len(r.Teams); got != 2 {
		t.Errorf("%d teams", got)
	}
	doc, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(doc, r.Document) {
		t.Error("the roster does not keep its document")
	}
}

func TestLintNamesFilesThatAreNotThere(t *testing.T) {
	fs := roster.Lint(example(t), func(path string) bool { return path == "/run/secrets/crm" })
	if len(fs) != 1 || fs[0].Severity != document.Warning || fs[0].Line != 7 || !strings.Contains(fs[0].Path, "tokenFile") {
		t.Errorf("findings: %s", findings(fs))
	}
}

func TestShow(t *testing.T) {
	ar, err := txtar.ParseFile("testdata/show.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range slices.Clone(ar.Files) {
		at, err := time.Parse(time.RFC3339, f.Name)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		loads := map[string]roster.Load{"dach-1": {Open: 3, Today: 2}, "dach-2": {Open: 10}, "world-2": {Open: 1, Today: 1}}
		if err := roster.Show(&out, example(t), at, loads); err != nil {
			t.Fatal(err)
		}
		golden(t, "testdata/show.txtar", ar, f.Name, out.String())
	}
}

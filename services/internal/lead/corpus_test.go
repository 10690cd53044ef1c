package lead

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	cloudeventsv1 "github.com/leadbaton/baton/api/gen/io/cloudevents/v1"
	"github.com/leadbaton/baton/services/internal/fold"
)

var (
	recordCorpus = flag.String("record", "", "record the corpus of a fold version that has none: -record lead-2")
	overwrite    = flag.String("overwrite", "", "with -record: overwrite the files of this version, which nobody has released: -overwrite lead-2")
)

const corpusFolder = "testdata/corpus"

// TestCorpus folds what was recorded under each version, and compares every byte of states and of what leaves.
func TestCorpus(t *testing.T) {
	if *recordCorpus != "" {
		record(t)
	}
	for _, version := range versionNames {
		files, err := filepath.Glob(filepath.Join(corpusFolder, version, "*.txt"))
		if err != nil || len(files) == 0 {
			t.Errorf("fold version %s has no corpus: go test ./internal/lead -run Corpus -record %s", version, version)
		}
		for _, file := range files {
			t.Run(version+"/"+filepath.Base(file), func(t *testing.T) { replayCorpus(t, version, file) })
		}
	}
}

func replayCorpus(t *testing.T, version, file string) {
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	streams := map[string][]fold.Message{}
	lines := bufio.NewScanner(bytes.NewReader(doc))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 5 || f[1] != "in" {
			continue
		}
		at, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		data, err := base64.StdEncoding.DecodeString(f[4])
		if err != nil {
			t.Fatal(err)
		}
		streams[f[0]] = append(streams[f[0]], fold.Message{
			Subject: f[3], Data: data, Incarnation: worldIncarnation, Sequence: uint64(len(streams[f[0]])) + 1, Time: at,
		})
	}
	if len(streams) == 0 {
		t.Fatal("nothing is recorded")
	}
	got := foldCorpus(t, version, streams)
	if got == string(doc) {
		return
	}
	was, is := strings.Split(string(doc), "\n"), strings.Split(got, "\n")
	at := 0
	for at < min(len(was), len(is))-1 && was[at] == is[at] {
		at++
	}
	t.Errorf(`what was recorded under %s is now folded otherwise, first in line %d:
was %.300s
is  %.300s
States that are stored would not be what folding their log gives. Keep the old behaviour for %s, and give the new one to a
new version (Newest in version.go), which takes force by its marker; then record it: -record lead-N.`, version, at+1, was[at], is[at], version)
}

// foldCorpus folds every shard by itself and writes down all that went in and came out.
func foldCorpus(t *testing.T, version string, streams map[string][]fold.Message) string {
	t.Helper()
	var out strings.Builder
	text := base64.StdEncoding.EncodeToString
	for _, shard := range slices.Sorted(maps.Keys(streams)) {
		m, states, fields := New(shard), map[string]fold.State{}, map[string][]byte{}
		var records []fold.Record
		var at *fold.Message
		tx := fold.NewTx(func(key string) fold.State {
			if states[key] == nil {
				s, _, err := m.Load(key, nil)
				if err != nil {
					t.Fatal(err)
				}
				states[key] = s
			}
			return states[key]
		}, func(r fold.Record) {
			r.Incarnation, r.Sequence = at.Incarnation, at.Sequence
			records = append(records, r)
		})
		for i := range streams[shard] {
			at = &streams[shard][i]
			fmt.Fprintf(&out, "%s in %d %s %s\n", shard, at.Time, at.Subject, text(at.Data))
			tx.Begin()
			if err := m.Fold(tx, m.Decode(*at)); err != nil {
				t.Fatal(err)
			}
		}
		if got := m.InForce(tx.Get("")); got != version {
			t.Errorf("shard %s is folded as %s at its end, not as %s", shard, got, version)
		}
		for key, s := range states {
			s.Changes(func(part string, value []byte) {
				if value != nil {
					fields[fold.Field(key, part)] = bytes.Clone(value)
				}
			})
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			fmt.Fprintf(&out, "%s state %q %s\n", shard, name, text(fields[name]))
		}
		for i := range records {
			fmt.Fprintf(&out, "%s record %s %s\n", shard, records[i].ID(), text(fold.AppendRecord(nil, &records[i])))
		}
	}
	return out.String()
}

// record writes down what the stories, and the example in both formats of CloudEvents, come to.
func record(t *testing.T) {
	dir := filepath.Join(corpusFolder, *recordCorpus)
	if *recordCorpus != Version {
		t.Fatalf("this program's newest version is %s: only that can be recorded", Version)
	}
	if _, err := os.Stat(dir); err == nil && *overwrite != *recordCorpus {
		t.Fatalf("%s is there already. Stored states may be of it: what changes bytes needs a new version. If it was never released, say so with -overwrite %s", dir, *recordCorpus)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	worlds := map[string]*world{}
	stories, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stories {
		worlds[strings.TrimSuffix(filepath.Base(file), ".txtar")] = runStory(t, file).w
	}
	worlds["example"] = exampleInBothFormats(t)
	for name, w := range worlds {
		streams := map[string][]fold.Message{}
		for shard, s := range w.shards {
			if len(s.states) > 1 { // more than the markers
				streams[shard] = s.stream
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name+".txt"), []byte(foldCorpus(t, Version, streams)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// exampleInBothFormats publishes the example's events, every other one as protobuf.
func exampleInBothFormats(t *testing.T) *world {
	w := newWorld(nil)
	w.activateAs(t, exampleAgreement(t), 1, 1, now.AddDate(0, 0, -60))
	doc, err := os.ReadFile(exampleFolder + "events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(doc) {
		body := bytes.TrimSpace(line)
		if n++; n%2 == 0 {
			body = asProtobuf(t, body)
		}
		if _, err := w.publishEvent(body, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	return w
}

func asProtobuf(t *testing.T, body []byte) []byte {
	t.Helper()
	var e struct {
		ID, Source, Type string
		Time             time.Time
		Data             json.RawMessage
	}
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	out, err := proto.MarshalOptions{Deterministic: true}.Marshal(&cloudeventsv1.CloudEvent{
		Id: e.ID, Source: e.Source, SpecVersion: "1.0", Type: e.Type,
		Attributes: map[string]*cloudeventsv1.CloudEventAttributeValue{
			"time":            {Attr: &cloudeventsv1.CloudEventAttributeValue_CeTimestamp{CeTimestamp: timestamppb.New(e.Time)}},
			"datacontenttype": {Attr: &cloudeventsv1.CloudEventAttributeValue_CeString{CeString: "application/json"}},
		},
		Data: &cloudeventsv1.CloudEvent_TextData{TextData: string(e.Data)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

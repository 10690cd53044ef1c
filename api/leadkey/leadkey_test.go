package leadkey

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// vector is one document of testdata/vectors.json, for implementations in any language.
type vector struct {
	Email       string            `json:"email,omitempty"`
	IDs         map[string]string `json:"ids,omitempty"`
	AnonymousID string            `json:"anonymousId,omitempty"`
	// Line is what is hashed; "" if the lead names nobody.
	Line string `json:"line"`
	Key  Key    `json:"key"`
}

// update writes the keys of testdata/vectors.json anew: UPDATE_VECTORS=1 go test ./leadkey
// They are contract: a change makes every lead another one.
var update = os.Getenv("UPDATE_VECTORS") != ""

func TestVectors(t *testing.T) {
	const file = "testdata/vectors.json"
	given, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(given, &vectors); err != nil {
		t.Fatal(err)
	}
	for i, v := range vectors {
		key, ok := Of(v.Email, v.IDs, v.AnonymousID)
		if want := string(appendHash(nil, []byte(v.Line))); ok && string(key) != want {
			t.Errorf("%+v has the key %s, but its line has %s", v, key, want)
		}
		if ok != (v.Line != "") {
			t.Errorf("%+v names a lead: %v", v, ok)
		}
		if update {
			vectors[i].Key = key
		} else if key != v.Key {
			t.Errorf("%+v has the key %s", v, key)
		}
	}
	if update {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(vectors); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestShardAndBucket(t *testing.T) {
	k := FromEmail("d@acme.example")
	if k.Shard() != string(k[:1]) || k.Bucket() != string(k[1:4]) {
		t.Errorf("%s is in shard %s, bucket %s", k, k.Shard(), k.Bucket())
	}
	if k := Key(""); k.Shard() != "" || k.Bucket() != "" {
		t.Error("the empty key has a shard or a bucket")
	}
}

func TestResolve(t *testing.T) {
	key := FromID("marketo", "4711")
	for s, want := range map[string]Key{
		"d@acme.example": FromEmail("d@acme.example"),
		//nolint:gocritic // the spaces are the point
		" D@Acme.example ":     FromEmail("d@acme.example"),
		"email:d@acme.example": FromEmail("d@acme.example"),
		"marketo:4711":         key,
		"crm:a@b:c":            FromID("crm", "a@b:c"),
		"anon:a-17":            FromAnonymous("a-17"),
		string(key):            key,
	} {
		if got, err := Resolve(s); err != nil || got != want {
			t.Errorf("Resolve(%q) = %s, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "acme", ":", "crm:", ":1", strings.ToUpper(string(key)), string(key) + "0"} {
		if got, err := Resolve(s); !errors.Is(err, ErrUnresolved) || s != "" && s != ":" && strings.Contains(err.Error(), s) {
			t.Errorf("Resolve(%q) = %s, %v; want an error that does not quote it", s, got, err)
		}
	}
}

func TestParse(t *testing.T) {
	key := string(FromAnonymous("a"))
	if got, err := Parse(key); err != nil || string(got) != key {
		t.Errorf("Parse(%s) = %s, %v", key, got, err)
	}
	for _, s := range []string{"", key[1:], key + "0", strings.ToUpper(key), strings.Repeat("g", 32)} {
		if got, err := Parse(s); !errors.Is(err, ErrNotKey) || got != "" {
			t.Errorf("Parse(%q) = %s, %v", s, got, err)
		}
	}
}

func TestAllocations(t *testing.T) {
	address, id := strings.Repeat("X", 242)+"@acme.example", strings.Repeat("x", 240)
	var b [Size]byte
	for name, f := range map[string]func(){
		"AppendEmail":     func() { AppendEmail(b[:0], address) },
		"AppendID":        func() { AppendID(b[:0], "marketo", id) },
		"AppendAnonymous": func() { AppendAnonymous(b[:0], id) },
		"NormalEmail":     func() { NormalEmail(" d@acme.example") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { sink = FromEmail("d@acme.example") }); n != 1 {
		t.Errorf("FromEmail allocates %v times, want once for the key", n)
	}
}

var sink Key

func BenchmarkFromEmail(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		sink = FromEmail("d@acme.example")
	}
}

package fold_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/leadbaton/baton/services/internal/fold"
)

// TestArenaKeepsEveryValue: values of all sizes stay as they are until the next commit, also larger ones than a block.
func TestArenaKeepsEveryValue(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var a fold.Arena
	for range 5 {
		var want, got [][]byte
		for i := range 3000 {
			size := rng.IntN(3000)
			if i%100 == 0 {
				size = rng.IntN(300 << 10)
			}
			v := bytes.Repeat([]byte{byte(rng.Uint32())}, size)
			got = append(got, a.Keep(v))
			want = append(want, bytes.Clone(v))
			clear(v) // whoever gave it uses it again
			if last := got[len(got)-1]; cap(last) != len(last) {
				t.Fatal("appending to a value would change the next one")
			}
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("value %d of %d bytes is another one", i, len(want[i]))
			}
		}
		a.Reset()
	}
}

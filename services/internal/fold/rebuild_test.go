package fold_test

import (
	"context"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leadbaton/baton/services/internal/fold"
	"github.com/leadbaton/baton/services/internal/fold/foldtest"
)

// TestRebuildEndsWhereMessagesWereErased: the message that a shard was folded up to may be gone.
func TestRebuildEndsWhereMessagesWereErased(t *testing.T) {
	for name, more := range map[string]int{"at the log's end": 0, "before others": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := foldtest.NewLog(1)
				fill(l, 5+more)
				l.Erase(4)
				l.Erase(5)
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				got, err := fold.Rebuild(ctx, l, foldtest.Machine{}, fold.Dump{}, 5)
				if err != nil {
					t.Fatal(err)
				}
				if n := binary.BigEndian.Uint64(got.Fields["k"]); got.Messages != 3 || n != 3 {
					t.Errorf("%d messages folded, %d counted; want 3", got.Messages, n)
				}
			})
		})
	}
}

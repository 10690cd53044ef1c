package servertest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Backup is what `nats stream backup` keeps of one stream.
type Backup struct {
	name          string
	config, state json.RawMessage
	chunks        [][]byte
}

// BackUp takes a backup of a stream through NATS's API.
func BackUp(t testing.TB, url, stream string) *Backup {
	t.Helper()
	b := &Backup{name: stream}
	withNATS(t, url, func(nc *nats.Conn) error {
		sub, err := nc.SubscribeSync(nc.NewInbox())
		if err != nil {
			return err
		}
		ask, err := json.Marshal(map[string]any{"deliver_subject": sub.Subject, "chunk_size": 64 << 10})
		if err != nil {
			return err
		}
		m, err := nc.Request("$JS.API.STREAM.SNAPSHOT."+stream, ask, 10*time.Second)
		if err != nil {
			return err
		}
		var answer struct{ Config, State json.RawMessage }
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			return err
		}
		b.config, b.state = answer.Config, answer.State
		for {
			m, err := sub.NextMsg(10 * time.Second)
			if err != nil {
				return fmt.Errorf("%w: %s", err, answer.State)
			}
			if len(m.Data) == 0 {
				return nil
			}
			b.chunks = append(b.chunks, m.Data)
			if m.Reply != "" {
				if err := m.Respond(nil); err != nil {
					return err
				}
			}
		}
	})
	return b
}

// Restore deletes the stream and restores it from its backup, as `nats stream restore` does.
func (b *Backup) Restore(t testing.TB, url string) {
	t.Helper()
	DeleteStream(t, url, b.name)
	withNATS(t, url, func(nc *nats.Conn) error {
		ask, err := json.Marshal(map[string]any{"config": b.config, "state": b.state})
		if err != nil {
			return err
		}
		m, err := nc.Request("$JS.API.STREAM.RESTORE."+b.name, ask, 10*time.Second)
		if err != nil {
			return err
		}
		var to struct {
			Subject string `json:"deliver_subject"`
		}
		if err := json.Unmarshal(m.Data, &to); err != nil || to.Subject == "" {
			return fmt.Errorf("restoring %s: %s", b.name, m.Data)
		}
		for _, c := range append(b.chunks, nil) {
			if m, err = nc.Request(to.Subject, c, 10*time.Second); err != nil {
				return err
			}
		}
		var done struct{ Error json.RawMessage }
		if err := json.Unmarshal(m.Data, &done); err != nil || done.Error != nil {
			return fmt.Errorf("restoring %s: %s", b.name, m.Data)
		}
		return nil
	})
}

package notifier

import "github.com/leadbaton/baton/services/internal/fold"

// For tests of what only a forged or very old token shows.
var (
	EncodeToken = encodeToken
	DecodeToken = decodeToken
)

// Lag makes a notifier that is not run one that is ready and reads HANDOFFS as slowly as the test calls apply.
func (n *Notifier) Lag() (apply func(fold.Message) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = true
	return n.apply
}

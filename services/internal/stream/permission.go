package stream

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/leadbaton/baton/api/natsbatch"
)

// Need is one thing that a service must be allowed to do, and a harmless way to find out whether it is. JetStream does not
// answer a forbidden publish: the only signs are a timeout and an error on the side, long after the start, when a fact is to
// be stored. So each need is tried before a service calls itself ready, without leaving anything behind.
type Need struct {
	try    tried
	canary string // the subject that it is tried on
	grant  string // what an operator gives the service's user
}

type tried int

const (
	storing tried = iota // publish into a stream that refuses the message
	asking               // publish, and have any answer
	telling              // publish, without an answer
	hearing              // subscribe
)

// Stores is the need to publish into a stream: the canary is a subject of it. It is sent with an expected sequence that no
// stream ever has, so the stream's refusal proves the permission.
func Stores(canary, grant string) Need { return Need{storing, canary, grant} }

// Tells is the need to publish what no stream keeps; nobody listens on the canary.
func Tells(canary, grant string) Need { return Need{telling, canary, grant} }

// Hears is the need to subscribe.
func Hears(canary, grant string) Need { return Need{hearing, canary, grant} }

// Reads are the needs of whoever reads a stream in order.
func Reads(stream string) []Need {
	return []Need{
		api("STREAM.INFO." + stream), api("CONSUMER.CREATE." + stream + ".probe"), LooksUp(stream),
		api("CONSUMER.MSG.NEXT." + stream + ".probe"),
	}
}

// LooksUp is the need to read single messages of a stream.
func LooksUp(stream string) Need { return api("STREAM.MSG.GET." + stream) }

// api is the need to ask JetStream. The question is one that it cannot read.
func api(question string) Need { return Need{asking, "$JS.API." + question, "$JS.API.>"} }

// Elects are the needs of whoever takes part in an election.
func Elects(key string) []Need {
	subject := "$KV." + leaderBucket + "." + key
	return []Need{
		api("STREAM.INFO.KV_" + leaderBucket), api("DIRECT.GET.KV_" + leaderBucket + "." + subject),
		Stores(subject, "$KV."+leaderBucket+".>"), Hears(subject, "$KV."+leaderBucket+".>"),
	}
}

// inbox is the need of whoever wants an answer. Without it nothing else can be found out.
var inbox = Hears("_INBOX.probe", "_INBOX.>")

func (n Need) verb() string {
	if n.try == hearing {
		return "subscribe"
	}
	return "publish"
}

// ForbiddenError says that NATS does not let this user do what it needs to do.
type ForbiddenError struct {
	Verb    string // "publish" or "subscribe"
	Subject string
	Grants  []string // what to give, such as `publish on "baton.leads.>"`; empty if that is not known
}

// Error implements error.
func (e *ForbiddenError) Error() string {
	grant := "the permissions listed in services/internal/stream/README.md"
	if len(e.Grants) > 0 {
		grant = strings.Join(e.Grants, ", ")
	}
	return fmt.Sprintf("NATS forbids this user to %s on %q: give it %s", e.Verb, e.Subject, grant)
}

// violation is how the server words it.
var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]*)"`)

// forbidden reads an error that the connection reports on the side; nil if it is of another kind. It is the one place that
// knows how it is worded.
func forbidden(err error) *ForbiddenError {
	m := violation.FindStringSubmatch(err.Error())
	switch {
	case m != nil && strings.EqualFold(m[1], "subscription"):
		return &ForbiddenError{Verb: "subscribe", Subject: m[2]}
	case m != nil:
		return &ForbiddenError{Verb: "publish", Subject: m[2]}
	case errors.Is(err, nats.ErrPermissionViolation):
		return &ForbiddenError{Verb: "do something", Subject: err.Error()}
	}
	return nil
}

// violations are what the server has forbidden on this connection.
type violations struct {
	mu      sync.Mutex
	awaited map[string]chan struct{} // closed when it is forbidden; by verb and subject
	last    *ForbiddenError
	at      time.Time
	news    chan struct{} // a violation that nobody awaited
}

// saw takes note of a violation; it says whether that was awaited.
func (v *violations) saw(e *ForbiddenError) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last, v.at = e, time.Now()
	if ch := v.awaited[e.Verb+" "+e.Subject]; ch != nil {
		select {
		case <-ch:
		default:
			close(ch)
		}
		return true
	}
	select {
	case v.news <- struct{}{}:
	default:
	}
	return false
}

func (v *violations) await(n Need) (ch <-chan struct{}, end func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	key, c := n.verb()+" "+n.canary, make(chan struct{})
	v.awaited[key] = c
	return c, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.awaited[key] == c {
			delete(v.awaited, key)
		}
	}
}

// since turns an error into the reason for it, if something was forbidden after a moment: all that a forbidden request
// shows by itself is that no answer comes.
func (v *violations) since(begun time.Time, err error) error {
	if err == nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.last != nil && !v.at.Before(begun) {
		return fmt.Errorf("%w (%w)", v.last, err)
	}
	return err
}

// probeWait is how long an answer may take. It is not known then what is the matter, and tried again.
const probeWait = 5 * time.Second

// impossible is a last sequence that no stream ever has.
const impossible = "9223372036854775807"

// try finds out about one need: nil if it is allowed, a *ForbiddenError if not, any other error if that is not known.
func (c *Conn) try(ctx context.Context, n Need) error {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	refused, end := c.violations.await(n)
	defer end()
	no := &ForbiddenError{Verb: n.verb(), Subject: n.canary}
	if n.try == hearing || n.try == telling {
		before := c.nc.LastError()
		if n.try == hearing {
			sub, err := c.nc.SubscribeSync(n.canary)
			if err != nil {
				return err
			}
			defer func() { _ = sub.Unsubscribe() }()
		} else if err := c.nc.Publish(n.canary, nil); err != nil {
			return err
		}
		// The server says no before it answers what was sent later.
		if err := c.nc.FlushWithContext(ctx); err != nil {
			return err
		}
		if err := c.nc.LastError(); err != nil && !errors.Is(err, before) { // it is there before its handler is called
			if f := forbidden(err); f != nil && f.Verb == no.Verb && f.Subject == no.Subject {
				return no
			}
		}
		select {
		case <-refused:
			return no
		default:
			return nil
		}
	}
	m := &nats.Msg{Subject: n.canary, Data: []byte("probe"), Header: nats.Header{}}
	if n.try == storing {
		m.Header.Set(nats.ExpectedLastSeqHdr, impossible)
	}
	done := make(chan error, 1)
	go func() {
		if n.try == storing {
			_, err := c.store(ctx, []*nats.Msg{m})
			done <- err
			return
		}
		_, err := c.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: n.canary, Data: m.Data})
		done <- err
	}()
	select {
	case err := <-done:
		var refusal *natsbatch.Error
		switch {
		case n.try == asking && err == nil, errors.As(err, &refusal):
			return nil
		case errors.Is(err, nats.ErrNoResponders): // it may be asked, and is not there: that is no matter of permissions
			return nil
		case err == nil:
			return fmt.Errorf("what takes messages on %s is not one of Baton's streams", n.canary)
		}
		return fmt.Errorf("no answer on %s: %w", n.canary, err)
	case <-refused: // the answer that is waited for never comes
		return no
	}
}

// Permissions finds out, and goes on finding out, whether a service may do what it needs to.
type Permissions struct {
	c     *Conn
	needs []Need

	mu     sync.Mutex
	err    error
	proved bool
}

// Permissions returns the check of some needs; it begins with Run.
func (c *Conn) Permissions(needs ...Need) *Permissions {
	return &Permissions{c: c, needs: append([]Need{inbox}, needs...), err: errors.New("its permissions in NATS are being looked at")}
}

// Err says why the service cannot do its work: something is forbidden, or it is not known yet that nothing is. Once
// everything was proved to be allowed, only a plain no changes that; an answer that does not come shows elsewhere.
func (p *Permissions) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// permissionPause is how long it rests after each look, and how often it looks while something is forbidden or not known.
const permissionPause = 5 * time.Second

// Run looks at the start, after each reconnection (another server may know other rules), and when NATS has forbidden
// something, until ctx ends.
func (p *Permissions) Run(ctx context.Context) {
	for ctx.Err() == nil {
		reconnected := p.c.nextReconnect()
		p.look(ctx)
		pause := time.NewTimer(permissionPause)
		select {
		case <-ctx.Done():
		case <-reconnected:
		case <-pause.C:
			if p.Err() != nil {
				continue
			}
			select {
			case <-ctx.Done():
			case <-reconnected:
			case <-p.c.violations.news:
			}
		}
		pause.Stop()
	}
}

// look tries every need.
func (p *Permissions) look(ctx context.Context) {
	var no *ForbiddenError
	var unknown error
	for _, n := range p.needs {
		err := p.c.try(ctx, n)
		var f *ForbiddenError
		switch {
		case errors.As(err, &f):
			if no == nil {
				no = f
			}
			if grant := fmt.Sprintf("%s on %q", n.verb(), n.grant); !slices.Contains(no.Grants, grant) {
				no.Grants = append(no.Grants, grant)
			}
		case err != nil && unknown == nil:
			unknown = err
		}
		if err != nil && (n == inbox || f == nil) || ctx.Err() != nil {
			break // no answer will come to the others either, or each would be waited for
		}
	}
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.err
	switch {
	case no != nil:
		p.err, p.proved = no, false
	case unknown == nil:
		p.err, p.proved = nil, true
	case !p.proved:
		p.err = fmt.Errorf("what NATS permits is not known yet: %w", unknown)
	}
	if p.err != nil && (was == nil || was.Error() != p.err.Error()) {
		p.c.log.Error("not ready", "reason", p.err)
	}
}

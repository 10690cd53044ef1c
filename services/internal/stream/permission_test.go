package stream_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadbaton/baton/services/internal/servertest"
	"github.com/leadbaton/baton/services/internal/stream"
)

// What a service is given, as publish or subscribe and a subject.
var grants = []string{
	"publish baton.leads.>", "publish baton.handoffs.>", "publish baton.notifier.>", "publish $JS.API.INFO", "publish $JS.API.STREAM.>",
	"publish $JS.API.CONSUMER.CREATE.>", "publish $JS.API.CONSUMER.MSG.NEXT.>", "publish $JS.API.DIRECT.>",
	"publish $KV.BATON_LEADERS.>", "subscribe baton.notifier.>", "subscribe $KV.BATON_LEADERS.>", "subscribe _INBOX.>",
}

func without(left ...string) []string {
	return slices.DeleteFunc(slices.Clone(grants), func(g string) bool { return slices.Contains(left, g) })
}

// users is the configuration of an operator, who may all, and of users with some grants each.
func users(of map[string][]string) string {
	var b strings.Builder
	b.WriteString("authorization { users: [\n  {user: operator, password: x}\n")
	for name, grants := range of {
		list := map[string][]string{}
		for _, g := range grants {
			verb, subject, _ := strings.Cut(g, " ")
			list[verb] = append(list[verb], fmt.Sprintf("%q", subject))
		}
		fmt.Fprintf(&b, "  {user: %s, password: x, permissions: {publish: [%s], subscribe: [%s]}}\n",
			name, strings.Join(list["publish"], ", "), strings.Join(list["subscribe"], ", "))
	}
	b.WriteString("] }\n")
	return b.String()
}

func connectAs(t *testing.T, p *servertest.Process, user string) (*stream.Conn, error) {
	t.Helper()
	c, err := stream.Connect(t.Context(), stream.Options{URL: "nats://" + user + ":x@" + p.Addr, Logger: quiet, Name: "test"})
	if err == nil {
		t.Cleanup(c.Close)
	}
	return c, err
}

// mustConnect connects, and the operator makes the streams.
func mustConnect(t *testing.T, p *servertest.Process, user string) *stream.Conn {
	t.Helper()
	c, err := connectAs(t, p, user)
	if err == nil && user == "operator" {
		err = c.EnsureStreams(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// checked runs the check of permissions, and returns a function that waits until it says all of what is wanted; nothing is
// wanted when all is permitted.
func checked(t *testing.T, c *stream.Conn) (says func(want ...string)) {
	t.Helper()
	needs := append(stream.Reads("LEADS"), stream.Elects("probed")...)
	needs = append(needs,
		stream.Stores("baton.leads.0.000.probe", "baton.leads.>"), stream.Stores("baton.handoffs._", "baton.handoffs.>"),
		stream.Tells("baton.notifier.probe", "baton.notifier.>"), stream.Hears("baton.notifier.probe", "baton.notifier.>"))
	p := c.Permissions(needs...)
	if p.Err() == nil {
		t.Error("all is said to be permitted before anything was tried")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return func(want ...string) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		late := time.After(40 * time.Second)
		for {
			err := p.Err()
			ok := len(want) > 0 || err == nil
			for _, w := range want {
				ok = ok && err != nil && strings.Contains(err.Error(), w)
			}
			if ok {
				return
			}
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("the check never said %q, but %v", want, err)
			}
		}
	}
}

func TestMissingPermissionsAreNamed(t *testing.T) {
	cases := map[string]struct {
		without []string
		want    []string
	}{
		"nothing-is-missing": {},
		"facts":              {[]string{"publish baton.leads.>"}, []string{`to publish on "baton.leads.0.000.probe": give it publish on "baton.leads.>"`}},
		"all-facts": {[]string{"publish baton.leads.>", "publish baton.handoffs.>"},
			[]string{`"baton.leads.0.000.probe": give it publish on "baton.leads.>", publish on "baton.handoffs.>"`}},
		"asking-for-more": {[]string{"publish $JS.API.CONSUMER.MSG.NEXT.>"},
			[]string{`to publish on "$JS.API.CONSUMER.MSG.NEXT.LEADS.probe": give it publish on "$JS.API.>"`}},
		"elected":         {[]string{"publish $KV.BATON_LEADERS.>"}, []string{`to publish on "$KV.BATON_LEADERS.probed": give it publish on "$KV.BATON_LEADERS.>"`}},
		"hearing-leaders": {[]string{"subscribe $KV.BATON_LEADERS.>"}, []string{`to subscribe on "$KV.BATON_LEADERS.probed"`, `subscribe on "$KV.BATON_LEADERS.>"`}},
		"telling-others":  {[]string{"publish baton.notifier.>"}, []string{`to publish on "baton.notifier.probe"`}},
		"hearing-others":  {[]string{"subscribe baton.notifier.>"}, []string{`to subscribe on "baton.notifier.probe"`}},
	}
	of := map[string][]string{"no-api": without("publish $JS.API.INFO"), "no-inbox": without("subscribe _INBOX.>")}
	for name, x := range cases {
		of[name] = without(x.without...)
	}
	p := servertest.NATS(t, users(of))
	operator := mustConnect(t, p, "operator")
	for name, x := range cases {
		t.Run(name, func(t *testing.T) { checked(t, mustConnect(t, p, name))(x.want...) })
	}

	// Without answers nothing can be begun; the start says why.
	for name, want := range map[string]string{
		"no-api": `NATS forbids this user to publish on "$JS.API.INFO"`, "no-inbox": `NATS forbids this user to subscribe on "_INBOX.`,
	} {
		if _, err := connectAs(t, p, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the start says %v, want %q", name, err, want)
		}
	}

	// Nothing is left of all these trials.
	for _, s := range []string{"LEADS", "HANDOFFS"} {
		if info, err := operator.Log(s).Info(t.Context()); err != nil || info.Last != 0 {
			t.Errorf("%s ends at message %d (%v)", s, info.Last, err)
		}
	}
}

// What is granted or taken away under way is found out without a restart of the service.
func TestPermissionsAreLookedAtAgain(t *testing.T) {
	less, all := users(map[string][]string{"service": without("publish baton.handoffs.>")}), users(map[string][]string{"service": grants})
	p := servertest.NATS(t, less)
	mustConnect(t, p, "operator")
	c := mustConnect(t, p, "service")
	says := checked(t, c)
	says(`give it publish on "baton.handoffs.>"`)
	p.Reconfigure(t, all)
	says()
	p.Reconfigure(t, less)
	// The service does its work, and is refused.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = c.Broadcast("baton.handoffs.probe", nil)
			_, _ = c.Log("HANDOFFS").Info(ctx)
		}
	}()
	defer func() {
		cancel()
		<-done
	}()
	says(`give it publish on "baton.handoffs.>"`)
}

package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// page asks the host's HTTP for a page.
func (x *hosted) page(t *testing.T, path string) (code int, body string) {
	t.Helper()
	return fetch(t, "http://"+x.web+path)
}

func fetch(t *testing.T, url string) (code int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

func (x *hosted) shows(t *testing.T, path string, code int, body string) {
	t.Helper()
	if c, b := x.page(t, path); c != code || b != body {
		t.Errorf("%s answers %d:\n%swant %d:\n%s", path, c, b, code, body)
	}
}

func TestReadyzNamesServicesAndReasons(t *testing.T) {
	x := startHost(t)
	x.health(t, "baton.subscription.v1.SubscriptionService", serving) // it runs
	x.shows(t, "/livez", 200, "alive\n")
	x.shows(t, "/readyz", 503, "not ready\nanswerer: not ready: it is starting\nsender: ready\n")
	x.shows(t, "/readyz?format=json", 503,
		`{"ready":false,"services":[{"name":"answerer","ready":false,"reason":"it is starting"},{"name":"sender","ready":true}]}`+"\n")
	x.a.ready.Store(true)
	x.shows(t, "/readyz", 200, "ready\nanswerer: ready\nsender: ready\n")
	x.a.ready.Store(false)
	x.shows(t, "/readyz", 503, "not ready\nanswerer: not ready: it is starting\nsender: ready\n")
}

// While the services end, whoever probes is told, and the process is not taken for dead.
func TestHTTPOutlivesTheServices(t *testing.T) {
	x := startHost(t)
	x.a.ready.Store(true)
	x.health(t, "", serving)
	stopping := make(chan struct{})
	x.a.ended = func() {
		x.shows(t, "/livez", 200, "alive\n")
		x.shows(t, "/readyz", 503, "not ready: stopping\n")
		close(stopping)
		x.order <- "answering"
	}
	x.stop()
	<-stopping
	if err := <-x.done; err != nil {
		t.Error(err)
	}
	x.closeHTTP()
	if c, err := net.DialTimeout("tcp", x.web, time.Second); err == nil {
		c.Close()
		t.Error("HTTP listens when all has ended")
	}
}

func TestReadyzBeforeTheServicesAre(t *testing.T) {
	h := newHost(slog.New(slog.DiscardHandler), nil)
	address, err := h.listenHTTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer h.closeHTTP()
	if code, body := fetch(t, "http://"+address+"/livez"); code != 200 {
		t.Errorf("/livez answers %d %s", code, body)
	}
	var state readiness
	code, body := fetch(t, "http://"+address+"/readyz?format=json")
	if err := json.Unmarshal([]byte(body), &state); err != nil || code != 503 || state.Ready || !strings.Contains(state.Reason, "waiting for NATS") {
		t.Errorf("/readyz answers %d %s (%v)", code, body, err)
	}
}

// What was asked for is had, or the start is refused; what was not asked for gives way.
func TestHTTPAddresses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	h := newHost(slog.New(slog.DiscardHandler), nil)
	if _, err := h.listenHTTP(taken.Addr().String()); err == nil || !strings.Contains(err.Error(), "choose another address with --http") {
		t.Errorf("an address that is taken: %v", err)
	}
	if address, err := h.listenHTTP("off"); err != nil || address != "" || h.web != nil {
		t.Errorf("off listens on %q, %v", address, err)
	}
	h.closeHTTP() // there is none: nothing happens

	// Whether the usual address is free is not this test's to say: of two hosts, one at most has it.
	var warned strings.Builder
	one, two := newHost(slog.New(slog.DiscardHandler), nil), newHost(slog.New(slog.NewTextHandler(&warned, nil)), nil)
	if _, err := one.listenHTTP(""); err != nil {
		t.Fatal(err)
	}
	defer one.closeHTTP()
	address, err := two.listenHTTP("")
	defer two.closeHTTP()
	if err != nil || address != "" || !strings.Contains(warned.String(), "choose another with --http") {
		t.Errorf("the second host listens on %q, %v, and logs %q", address, err, warned.String())
	}
}

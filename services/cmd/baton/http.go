package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// httpFlag is where a process answers HTTP.
type httpFlag struct {
	HTTP string `name:"http" env:"BATON_HTTP" placeholder:"ADDR" help:"Where to listen for HTTP (/livez, /readyz, /metrics): HOST:PORT, :PORT for every network, or off. By default ${http}, if nothing listens there yet."`
}

// noHTTP is the value of --http for none.
const noHTTP = "off"

// httpServer answers from the process's first moment to its last, so that whoever probes it can tell a process that
// waits for NATS from one that hangs.
type httpServer struct {
	server *http.Server
	failed chan error
	done   chan struct{}
}

// listenHTTP opens the address of the flag --http and answers on it; it returns the address with its port, "" for none.
// Two services on one machine may both come without the flag: the second goes on without HTTP, and says so.
func (h *host) listenHTTP(address string) (string, error) {
	if address == noHTTP {
		return "", nil
	}
	asked := address != ""
	if !asked {
		address = defaultHTTP
	}
	l, err := listenOn("--http", address)
	if errors.Is(err, syscall.EADDRINUSE) && !asked {
		h.log.Warn("no HTTP: something listens on its usual address already; choose another with --http, or none with --http off", "address", address)
		return "", nil
	}
	if err != nil {
		return "", err
	}
	h.web = &httpServer{
		server: &http.Server{
			Handler: h.mux, ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelWarn),
			ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
			MaxHeaderBytes: 16 << 10,
		},
		failed: make(chan error, 1), done: make(chan struct{}),
	}
	go h.web.serve(l)
	return l.Addr().String(), nil
}

func (w *httpServer) serve(l net.Listener) {
	defer close(w.done)
	if err := w.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		w.failed <- fmt.Errorf("HTTP on %s: %w", l.Addr(), err)
	}
}

// closeHTTP answers what is being asked, and then nothing more. It comes last: until then /livez says that the process
// lives, and /readyz that it is stopping.
func (h *host) closeHTTP() {
	if h.web == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if h.web.server.Shutdown(ctx) != nil {
		_ = h.web.server.Close()
	}
	<-h.web.done
}

// healthPages puts /livez and /readyz behind the server. Others, such as /metrics, are added to h.mux in the same manner.
func (h *host) healthPages() {
	h.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "alive\n")
	})
	h.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		state := h.readiness()
		code := http.StatusOK
		if !state.Ready {
			code = http.StatusServiceUnavailable
		}
		if r.URL.Query().Get("format") == "json" || strings.Contains(r.Header.Get("Accept"), "application/json") {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(state) // nobody can be told that the asker has gone
			return
		}
		writeText(w, code, state.text())
	})
}

func writeText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // nobody can be told that the asker has gone
}

// readiness is what /readyz answers.
type readiness struct {
	Ready bool `json:"ready"`
	// Reason is why the whole process is not ready, while it starts or stops.
	Reason   string             `json:"reason,omitempty"`
	Services []serviceReadiness `json:"services"`
}

type serviceReadiness struct {
	Name   string `json:"name"`
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

func (r readiness) text() string {
	var b strings.Builder
	b.WriteString(readyWord(r.Ready, r.Reason) + "\n")
	for _, s := range r.Services {
		b.WriteString(s.Name + ": " + readyWord(s.Ready, s.Reason) + "\n")
	}
	return b.String()
}

func readyWord(ready bool, reason string) string {
	switch {
	case ready:
		return "ready"
	case reason == "":
		return "not ready"
	}
	return "not ready: " + reason
}

// readiness asks every service.
func (h *host) readiness() readiness {
	r := readiness{Services: []serviceReadiness{}}
	if p := phase(h.phase.Load()); p != working {
		r.Reason = p.reason()
		return r // the services are not all there, or on their way out
	}
	r.Ready = true
	for _, m := range h.members {
		s := serviceReadiness{Name: m.name, Ready: true}
		if err := m.Ready(); err != nil {
			s.Ready, s.Reason = false, strings.TrimPrefix(err.Error(), m.name+": ")
			r.Ready = false
		}
		r.Services = append(r.Services, s)
	}
	return r
}

// phase is where a host is in its life. In all but one it is not ready, whatever its services say.
type phase int32

const (
	starting phase = iota
	working
	ending
)

func (p phase) reason() string {
	switch p {
	case starting:
		return "starting: waiting for NATS and its streams"
	case ending:
		return "stopping"
	case working:
	}
	return ""
}

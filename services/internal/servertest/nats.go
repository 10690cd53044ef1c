package servertest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// NATSProgram is the path of nats-server.
func NATSProgram(t testing.TB) string {
	t.Helper()
	return find(t, "BATON_TEST_NATS_SERVER", "`make .bin/nats-server` builds it", "nats-server")
}

// NATS starts a nats-server with JetStream on disk, synced always. more are further lines of its configuration.
func NATS(t testing.TB, more ...string) *Process {
	t.Helper()
	port := FreePort(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: 127.0.0.1:%d\njetstream { store_dir: %q, sync_interval: always }\n", port, filepath.Join(dir, "js"))
	if err := os.WriteFile(conf, []byte(text+strings.Join(more, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &Process{
		conf: conf, text: text,
		bin:  NATSProgram(t),
		args: []string{"-c", conf}, Addr: "127.0.0.1:" + strconv.Itoa(port), Port: port, Dir: dir,
	}
	p.start(t)
	return p
}

// Reconfigure gives a nats-server other further lines of configuration, which it reads at once.
func (p *Process) Reconfigure(t testing.TB, more ...string) {
	t.Helper()
	if err := os.WriteFile(p.conf, []byte(p.text+strings.Join(more, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// NATSCluster starts a cluster of three nats-servers like NATS. JetStream answers when it has elected its leader.
func NATSCluster(t testing.TB) []*Process {
	t.Helper()
	var routes []string
	var route, client [3]int
	for i := range 3 {
		route[i], client[i] = FreePort(t), FreePort(t)
		routes = append(routes, fmt.Sprintf("\"nats://127.0.0.1:%d\"", route[i]))
	}
	bin := NATSProgram(t)
	var out []*Process
	for i := range 3 {
		dir := t.TempDir()
		conf := filepath.Join(dir, "nats.conf")
		text := fmt.Sprintf("server_name: n%d\nlisten: 127.0.0.1:%d\njetstream { store_dir: %q, sync_interval: always }\n"+
			"cluster { name: test, listen: 127.0.0.1:%d, routes: [%s] }\n", i, client[i], filepath.Join(dir, "js"), route[i], strings.Join(routes, ", "))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := &Process{bin: bin, args: []string{"-c", conf}, Addr: "127.0.0.1:" + strconv.Itoa(client[i]), Port: client[i], Dir: dir}
		p.start(t)
		out = append(out, p)
	}
	return out
}

// URL is the server's address for NATS clients.
func (p *Process) URL() string { return "nats://" + p.Addr }

// URLs are the addresses of several servers for NATS clients.
func URLs(servers []*Process) string {
	var all []string
	for _, p := range servers {
		all = append(all, p.URL())
	}
	return strings.Join(all, ",")
}

// CopyStore copies a nats-server's streams, as they are at one instant, into a new folder: what a snapshot of its volume
// would hold. The server is paused meanwhile.
func (p *Process) CopyStore(t testing.TB) string {
	t.Helper()
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Continue(); err != nil {
			t.Error(err)
		}
	}()
	to := filepath.Join(t.TempDir(), "js")
	if err := os.CopyFS(to, os.DirFS(filepath.Join(p.Dir, "js"))); err != nil {
		t.Fatal(err)
	}
	return to
}

// RestoreStore kills a nats-server, puts a copy of CopyStore in the place of its streams, and starts it again. Streams named
// are the only ones that are put back; without any, all are.
func (p *Process) RestoreStore(t testing.TB, from string, streams ...string) {
	t.Helper()
	p.Kill()
	js := filepath.Join(p.Dir, "js")
	if len(streams) == 0 {
		replace(t, js, from)
	}
	for _, name := range streams {
		replace(t, streamFolder(t, js, name), streamFolder(t, from, name))
	}
	p.Start(t)
}

func streamFolder(t testing.TB, store, name string) string {
	t.Helper()
	found := ""
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == name && filepath.Base(filepath.Dir(path)) == "streams" {
			found = path
			return fs.SkipAll
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("stream %s is not in the store %s: %v", name, store, err)
	}
	return found
}

func replace(t testing.TB, dir, from string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

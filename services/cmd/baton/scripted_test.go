package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// scripted is a server whose answers are files of a script:
//
//	answers/LeadService.Get.json                  the response, as JSON
//	                                              (a field "@name" stands for the bytes of a file)
//	answers/LeadService.Get.error                 a code and a message instead
//	answers/SubscriptionService.Subscribe.1.jsonl the messages of the first stream, one each line; when there is a file
//	                                              for a second stream the first one ends, else it stays open
//
// What it was asked it writes to requests/LeadService.Get.json, or requests/SubscriptionService.Subscribe.1.json.
type scripted struct {
	dir   string
	mu    sync.Mutex
	calls map[string]int
}

// startScripted gives a script its server, in BATON_GRPC, and a clock.
func startScripted(e *testscript.Env) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &scripted{dir: e.WorkDir, calls: map[string]int{}}
	server := grpc.NewServer(grpc.UnknownServiceHandler(s.handle))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	e.Defer(func() {
		server.Stop()
		<-done
	})
	e.Vars = append(e.Vars, "BATON_GRPC="+l.Addr().String(), "BATON_TEST_NOW=2026-11-16T12:00:00Z", "NO_COLOR=1")
	repository, err := filepath.Abs(".")
	e.Vars = append(e.Vars, "SOURCE="+repository)
	return err
}

func (s *scripted) handle(_ any, stream grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(stream)
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return status.Error(codes.Unimplemented, "unknown service "+service)
	}
	m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method))
	name := service[strings.LastIndexByte(service, '.')+1:] + "." + method
	request, err := newMessage(m.Input())
	if err != nil {
		return err
	}
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	if m.IsStreamingServer() {
		s.mu.Lock()
		s.calls[name]++
		n := s.calls[name]
		s.mu.Unlock()
		if err := s.record(name+"."+strconv.Itoa(n), request); err != nil {
			return err
		}
		return s.stream(stream, m, name, n)
	}
	if err := s.record(name, request); err != nil {
		return err
	}
	if b, err := os.ReadFile(filepath.Join(s.dir, "answers", name+".error")); err == nil {
		code, text, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
		var c codes.Code
		if err := c.UnmarshalJSON([]byte(strconv.Quote(code))); err != nil {
			return err
		}
		return status.Error(c, text)
	}
	b, err := os.ReadFile(filepath.Join(s.dir, "answers", name+".json"))
	if err != nil {
		return status.Error(codes.Unimplemented, "the script has no answer to "+name)
	}
	return send(stream, m, s.withFiles(b))
}

// withFiles puts the script's files in the place of "@name".
func (s *scripted) withFiles(answer []byte) []byte {
	return regexp.MustCompile(`"@([^"]+)"`).ReplaceAllFunc(answer, func(quoted []byte) []byte {
		b, err := os.ReadFile(filepath.Join(s.dir, strings.Trim(string(quoted), `@"`)))
		if err != nil {
			return quoted
		}
		return strconv.AppendQuote(nil, base64.StdEncoding.EncodeToString(b))
	})
}

func send(stream grpc.ServerStream, m protoreflect.MethodDescriptor, b []byte) error {
	response, err := newMessage(m.Output())
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(b, response); err != nil {
		return status.Error(codes.Internal, "the script's answer is not one: "+err.Error())
	}
	return stream.SendMsg(response)
}

func (s *scripted) stream(stream grpc.ServerStream, m protoreflect.MethodDescriptor, name string, n int) error {
	b, err := os.ReadFile(filepath.Join(s.dir, "answers", fmt.Sprintf("%s.%d.jsonl", name, n)))
	if errors.Is(err, fs.ErrNotExist) && n == 1 {
		return status.Error(codes.NotFound, "the roster has no such rep")
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if err := send(stream, m, lines.Bytes()); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "answers", fmt.Sprintf("%s.%d.jsonl", name, n+1))); err == nil {
		return status.Error(codes.Unavailable, "the server is stopping")
	}
	<-stream.Context().Done()
	return nil
}

func newMessage(d protoreflect.MessageDescriptor) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil, err
	}
	return t.New().Interface(), nil
}

func (s *scripted) record(name string, m proto.Message) error {
	var b bytes.Buffer
	if err := writeJSON(&b, m); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "requests"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "requests", name+".json"), b.Bytes(), 0o644)
}

// patience is how long a script waits for something to happen.
const patience = time.Minute

// scriptCommands are the commands of the scripts besides testscript's own.
func scriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		// exits CODE COMMAND... checks an exit code; stdout and stderr can be looked at afterwards.
		"exits": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) < 2 {
				ts.Fatalf("usage: exits CODE COMMAND...")
			}
			code := 0
			var exit *exec.ExitError
			if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else {
				ts.Check(err)
			}
			if strconv.Itoa(code) != args[0] {
				ts.Fatalf("exit code %d instead of %s", code, args[0])
			}
		},
		// eventually FILE REGEXP waits until a file that is being written matches.
		"eventually": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != 2 {
				ts.Fatalf("usage: eventually FILE REGEXP")
			}
			re := regexp.MustCompile("(?s)" + args[1])
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			late := time.After(patience)
			for {
				b, _ := os.ReadFile(ts.MkAbs(args[0]))
				if re.Match(b) {
					return
				}
				select {
				case <-tick.C:
				case <-late:
					ts.Fatalf("%s never matched %s:\n%s", args[0], args[1], b)
				}
			}
		},
		// count FILE REGEXP N checks how often a file matches.
		"count": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != 3 {
				ts.Fatalf("usage: count FILE REGEXP N")
			}
			b, err := os.ReadFile(ts.MkAbs(args[0]))
			ts.Check(err)
			if n := len(regexp.MustCompile(args[1]).FindAll(b, -1)); strconv.Itoa(n) != args[2] {
				ts.Fatalf("%s matches %s %d times instead of %s:\n%s", args[0], args[1], n, args[2], b)
			}
		},
		// addresses FILE makes the clients use the addresses that `baton up` has printed.
		"addresses": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != 1 {
				ts.Fatalf("usage: addresses FILE")
			}
			text := ts.ReadFile(args[0])
			for name, re := range map[string]string{"BATON_GRPC": `gRPC +(\S+)`, "BATON_NATS": `NATS +(\S+)`, "READYZ": `HTTP +(\S+)`} {
				found := regexp.MustCompile(re).FindStringSubmatch(text)
				if found == nil {
					ts.Fatalf("%s has no address that matches %s:\n%s", args[0], re, text)
				}
				ts.Setenv(name, found[1])
			}
		},
		// listening FILE sets HTTP to where a service says in its log that it listens.
		"listening": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != 1 {
				ts.Fatalf("usage: listening FILE")
			}
			found := regexp.MustCompile(`"http":"([^"]+)"`).FindStringSubmatch(ts.ReadFile(args[0]))
			if found == nil {
				ts.Fatalf("%s says nothing of HTTP", args[0])
			}
			ts.Setenv("HTTP", "http://"+found[1])
		},
		// page URL CODE REGEXP asks a page over HTTP.
		"page": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != 3 {
				ts.Fatalf("usage: page URL CODE REGEXP")
			}
			c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
			answer, err := c.Get(args[0])
			ts.Check(err)
			defer answer.Body.Close()
			b, err := io.ReadAll(answer.Body)
			ts.Check(err)
			if strconv.Itoa(answer.StatusCode) != args[1] || !regexp.MustCompile(args[2]).Match(b) {
				ts.Fatalf("%s answers %s instead of %s and %s:\n%s", args[0], answer.Status, args[1], args[2], b)
			}
		},
		// normal replaces what changes from run to run in a file: regular expression and what stands for it.
		"normal": func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != 3 {
				ts.Fatalf("usage: normal FILE REGEXP TEXT")
			}
			name := ts.MkAbs(args[0])
			b, err := os.ReadFile(name)
			ts.Check(err)
			ts.Check(os.WriteFile(name, regexp.MustCompile(args[1]).ReplaceAll(b, []byte(args[2])), 0o644))
		},
	}
}

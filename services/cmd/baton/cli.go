package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	handoffv1 "github.com/leadbaton/baton/api/gen/baton/handoff/v1"
	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
	"github.com/leadbaton/baton/services/cmd/baton/internal/screen"
	"github.com/leadbaton/baton/services/internal/benchmark"
)

// Where `baton up` listens, and where the clients look for it. NATS is not on its usual 4222, where another may be running.
const (
	defaultGRPC       = "127.0.0.1:4422"
	defaultHTTP       = "127.0.0.1:4480"
	defaultNATSListen = "127.0.0.1:4322"
	defaultNATS       = "nats://" + defaultNATSListen
)

// grammar is the command line.
type grammar struct {
	Up       upCommand       `cmd:"" help:"Run all of Baton in one process, with nothing else needed."`
	Scorer   scorerCommand   `cmd:"" help:"Run a scorer: it keeps the leads' scores."`
	Router   routerCommand   `cmd:"" help:"Run a router: it passes qualified leads to reps."`
	Notifier notifierCommand `cmd:"" help:"Run a notifier: it tells reps."`

	Publish publishCommand `cmd:"" help:"Publish engagement events."`
	Watch   watchCommand   `cmd:"" help:"Show open handoffs, then each as it comes, as a sales tool sees them."`

	Lead struct {
		Get      leadGetCommand      `cmd:"" help:"Show what is known of a lead."`
		Explain  leadExplainCommand  `cmd:"" help:"Show where a lead's score comes from and what would qualify it."`
		Timeline leadTimelineCommand `cmd:"" help:"Show all that happened to a lead."`
		List     leadListCommand     `cmd:"" help:"List leads, highest score first."`
		Merge    leadMergeCommand    `cmd:"" help:"Make one lead part of another. It cannot be undone."`
	} `cmd:"" help:"Leads: their scores, and why."`

	Handoff struct {
		List   handoffListCommand   `cmd:"" help:"List handoffs, newest first."`
		Show   handoffShowCommand   `cmd:"" help:"Show a handoff and its whole story."`
		Answer handoffAnswerCommand `cmd:"" help:"Say what became of a handoff."`
	} `cmd:"" help:"Handoffs: the leads that were passed to sales."`

	Agreement struct {
		Lint     agreementLintCommand     `cmd:"" help:"Check an agreement's document."`
		Test     agreementTestCommand     `cmd:"" help:"Run an agreement's own tests."`
		Try      agreementTryCommand      `cmd:"" help:"Show what a lead's score would be under an agreement."`
		Activate agreementActivateCommand `cmd:"" help:"Put an agreement in force."`
		Show     agreementShowCommand     `cmd:"" help:"Show an agreement: the one in force, or a file."`
	} `cmd:"" help:"The agreement between marketing and sales."`

	Roster struct {
		Lint  rosterLintCommand  `cmd:"" help:"Check a roster's document."`
		Apply rosterApplyCommand `cmd:"" help:"Put a roster in force."`
		Show  rosterShowCommand  `cmd:"" help:"Show the roster in force and what each rep carries, or a file."`
		Try   rosterTryCommand   `cmd:"" help:"Show who would take a lead, and why not the others."`
	} `cmd:"" help:"The roster: teams, reps, hours, channels."`

	Status statusCommand `cmd:"" help:"Show the whole system: shards, lag, the router, open and overdue handoffs."`
	Verify verifyCommand `cmd:"" help:"Fold the log again and compare with what is kept."`
	Shard  struct {
		Adopt shardAdoptCommand `cmd:"" help:"Decide what becomes of a shard whose stream was restored or created anew."`
	} `cmd:"" help:"Shards: the leads' log in 16 parts."`

	Bench       benchCommand       `cmd:"" help:"Measure this machine's limit and Baton's share of it."`
	BenchWorker benchWorkerCommand `cmd:"" hidden:""`

	Version versionCommand `cmd:"" help:"Show the version of this binary."`
}

// Exit codes; they are part of the contract.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitInvalid  = 3 // a document is invalid
	exitUntested = 4 // a document's own tests failed
)

// coded is an error with its exit code. Without a message, what there is to say has been said.
type coded struct {
	code int
	err  error
}

func (e *coded) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *coded) Unwrap() error { return e.err }

// usagef is an error of whoever typed the command.
func usagef(format string, args ...any) error { return &coded{exitUsage, fmt.Errorf(format, args...)} }

// quiet ends with a code, without a word more.
func quiet(code int) error { return &coded{code, nil} }

// run runs one command line and returns the exit code.
func run(args []string, s *system) int {
	parser, err := kong.New(&grammar{}, kong.Name("baton"),
		kong.Description("Baton hands the lead from marketing to sales: the right lead, to the right rep, inside the hour, and both teams can see that it happened."),
		kong.Vars{
			"grpc":   defaultGRPC,
			"http":   defaultHTTP,
			"nats":   defaultNATS,
			"listen": defaultNATSListen,
			"parts":  strings.Join(benchmark.Parts, ", "),
			"helds":  strings.Join(screen.Words(leadv1.Held(0)), ", "),
			"states": strings.Join(screen.Words(handoffv1.State(0)), ", "),
			"verbs":  strings.Join(screen.Words(handoffv1.Verb(0)), ", "),
		},
		kong.Writers(s.out, s.errors), kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}))
	if err != nil {
		panic("baton: the command line's grammar is wrong: " + err.Error())
	}
	command, err := parser.Parse(args)
	if err != nil {
		help := "baton --help"
		var e *kong.ParseError
		if errors.As(err, &e) && e.Context != nil && e.Context.Command() != "" {
			help = "baton " + commandWords(e.Context) + " --help"
		}
		fmt.Fprintf(s.errors, "baton: %v; see %s\n", err, help)
		return exitUsage
	}
	stop := s.handleSignals()
	defer stop()
	return s.exitCode(command.Run(s))
}

// commandWords are the words of a command without its arguments.
func commandWords(c *kong.Context) string {
	var words []string
	for _, p := range c.Path {
		if p.Command != nil {
			words = append(words, p.Command.Name)
		}
	}
	return strings.Join(words, " ")
}

// exitCode says what an error means to the caller, and says it to people.
func (s *system) exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	code := exitFailed
	var c *coded
	if errors.As(err, &c) {
		code = c.code
	}
	if text := err.Error(); text != "" {
		if s.ctx.Err() != nil && errors.Is(err, s.ctx.Err()) {
			text = "interrupted"
		}
		fmt.Fprintf(s.errors, "baton: %s\n", screen.Clean(text))
	}
	return code
}

package condition

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
)

// Error is one thing that is wrong with a condition.
type Error struct {
	Line    int // from 1, within the condition
	Column  int // from 1, in characters
	Message string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// Errors is everything that is wrong with a condition; there is at least one.
type Errors []*Error

// Error implements error.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// explain says CEL's errors in the words of the agreement.
func (e *Env) explain(src string, issues []*cel.Error) Errors {
	var out Errors
	for _, issue := range issues {
		at := &Error{Line: max(1, issue.Location.Line()), Column: max(0, issue.Location.Column()) + 1}
		// CEL places a call at its bracket.
		call := characterAt(src, at.Line, at.Column) == '('
		at.Message = e.message(issue.Message, call)
		out = append(out, at)
	}
	if len(out) == 0 {
		out = Errors{{Line: 1, Column: 1, Message: "the condition cannot be read"}}
	}
	return out
}

var (
	overloadMessage  = regexp.MustCompile(`^found no matching overload for '([^']+)' applied to '(.*)'`)
	undeclared       = regexp.MustCompile(`^undeclared reference to '([^']+)'`)
	noFields         = regexp.MustCompile(`^type '([^']+)' does not support field selection`)
	operatorFunction = regexp.MustCompile(`^_(\S+)_$|^(@in)$|^([!-])_$`)
)

// characterAt returns the character of a text at a place, 0 if there is none.
func characterAt(src string, line, column int) rune {
	lines := strings.Split(src, "\n")
	if line > len(lines) {
		return 0
	}
	r := []rune(lines[line-1])
	if column > len(r) {
		return 0
	}
	return r[column-1]
}

func (e *Env) message(m string, call bool) string {
	m, _, _ = strings.Cut(m, "\n")
	if parts := overloadMessage.FindStringSubmatch(m); parts != nil {
		return overload(parts[1], parts[2])
	}
	if parts := noFields.FindStringSubmatch(m); parts != nil {
		return "what is before the dot is " + typeName(parts[1]) + " and has no fields"
	}
	switch parts := undeclared.FindStringSubmatch(m); {
	case parts != nil && call:
		return fmt.Sprintf("there is no function %s(); usual ones are startsWith(), endsWith(), contains(), matches(), size(), has()", parts[1])
	case parts != nil:
		return fmt.Sprintf("%s is not known; a condition at this place may use %s", parts[1], strings.Join(e.names, ", "))
	}
	if rest, ok := strings.CutPrefix(m, "Syntax error: "); ok {
		rest, _, _ = strings.Cut(rest, " expecting ")
		if strings.Contains(rest, "<EOF>") {
			return "this is not a condition: it ends too early"
		}
		return "this is not a condition: " + rest
	}
	if m == "invalid matches argument" {
		return "the pattern of matches() is not a regular expression (RE2)"
	}
	return m
}

// overload says which types a function or operator was given.
func overload(function, applied string) string {
	target, args, member := strings.Cut(applied, ".(")
	if !member {
		args = strings.TrimPrefix(applied, "(")
	}
	args = typeName(strings.TrimSuffix(args, ")"))
	switch op := operatorFunction.FindStringSubmatch(function); {
	case function == "_[_]":
		return "[...] does not work with " + args
	case function == "_?_:_":
		return "? : does not work with " + args
	case op != nil:
		return fmt.Sprintf("%s does not work with %s", strings.TrimPrefix(op[1]+op[2]+op[3], "@"), args)
	case member && target != "":
		if args == "" {
			args = "nothing"
		}
		return fmt.Sprintf("%s() of %s does not work with %s", function, typeName(target), args)
	}
	return fmt.Sprintf("%s() does not work with %s", function, args)
}

var plainTypes = strings.NewReplacer(
	"google.protobuf.Timestamp", "time", "google.protobuf.Duration", "duration",
	"string", "text", "double", "number", "int", "whole number", "bool", "true/false", "dyn", "anything",
	"baton.Event", "event", "baton.Lead", "lead", "baton.Account", "account", "baton.Campaign", "campaign",
)

// typeName says CEL's names of types in the words of the agreement.
func typeName(s string) string { return plainTypes.Replace(s) }

// All returns the parts of an error of Compile.
func All(err error) Errors {
	var es Errors
	if errors.As(err, &es) {
		return es
	}
	return Errors{{Line: 1, Column: 1, Message: err.Error()}}
}

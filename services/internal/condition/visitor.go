package condition

import (
	"fmt"
	"slices"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/leadbaton/baton/services/internal/attribute"
)

// visitor refuses what CEL allows but conditions do not.
type visitor struct {
	env        *Env
	info       *celast.SourceInfo
	loops      bool
	attributes []string // of lead and account, such as "lead.title"
	errs       Errors
}

func (v *visitor) refuse(e celast.Expr, message string) {
	at := v.info.GetStartLocation(e.ID())
	v.errs = append(v.errs, &Error{Line: max(1, at.Line()), Column: max(0, at.Column()) + 1, Message: message})
}

func (v *visitor) visit(e celast.Expr) {
	switch e.Kind() {
	case celast.ComprehensionKind:
		v.loops = true
	case celast.MapKind:
		// The order of their keys is not defined, and a fold must be the same everywhere.
		v.refuse(e, "maps {...} are not allowed in conditions; use a list [...]")
	case celast.StructKind:
		v.refuse(e, "objects are not allowed in conditions")
	case celast.IdentKind:
		name := strings.TrimPrefix(e.AsIdent(), ".")
		known := slices.Contains(baseNames, name) || slices.Contains(rosterNames, name)
		if known && !slices.Contains(v.env.names, name) {
			v.refuse(e, name+" is not known here; a condition at this place may use "+strings.Join(v.env.names, ", "))
		}
	case celast.CallKind:
		v.visitCall(e)
	case celast.SelectKind:
		if name := attributeOf(e); name != "" {
			v.attributes = append(v.attributes, name)
		}
	case celast.LiteralKind, celast.ListKind, celast.UnspecifiedExprKind:
	}
}

// attributeOf returns "lead.title" for the selection of that field, also within has(); "" for anything else.
func attributeOf(e celast.Expr) string {
	if e.Kind() == celast.SelectKind {
		if of := e.AsSelect().Operand(); of.Kind() == celast.IdentKind && isAttributed(of.AsIdent()) {
			return of.AsIdent() + "." + e.AsSelect().FieldName()
		}
	}
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != operators.Index {
		return ""
	}
	args := e.AsCall().Args()
	if len(args) != 2 || args[0].Kind() != celast.IdentKind || !isAttributed(args[0].AsIdent()) {
		return ""
	}
	if name, ok := literalText(args[1]); ok {
		return args[0].AsIdent() + "." + name
	}
	return ""
}

func isAttributed(name string) bool { return name == "lead" || name == "account" }

func (v *visitor) visitCall(e celast.Expr) {
	call := e.AsCall()
	args := call.Args()
	if name := attributeOf(e); name != "" {
		v.attributes = append(v.attributes, name)
	}
	switch call.FunctionName() {
	case operators.Equals, operators.NotEquals, operators.In:
		v.countries(args[0], args[1])
		v.countries(args[1], args[0])
	}
	if len(args) == 0 {
		return
	}
	last := args[len(args)-1]
	text, literal := literalText(last)
	switch name := call.FunctionName(); {
	case name == "matches" && !literal:
		v.refuse(last, `the pattern of matches() must be written out, such as "(?i)director"`)
	case strings.HasPrefix(name, "get") && call.IsMemberFunction() && (!literal || !fixedZone(text)):
		// Named zones are read from the machine, and machines differ in what they know of them.
		v.refuse(last, `a zone must be written out as "UTC" or an offset such as "+02:00"`)
	}
}

func literalText(e celast.Expr) (string, bool) {
	if e.Kind() != celast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().Value().(string)
	return s, ok
}

func fixedZone(s string) bool {
	if s == "UTC" {
		return true
	}
	if len(s) != 6 || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return false
	}
	return strings.Trim(s[1:3]+s[4:], "0123456789") == ""
}

// countries refuses a country compared with what is no code: it would never be equal, and nobody would see why.
func (v *visitor) countries(field, with celast.Expr) {
	if v.env.fields[attributeOf(field)] != attribute.TypeCountry {
		return
	}
	literals := []celast.Expr{with}
	if with.Kind() == celast.ListKind {
		literals = with.AsList().Elements()
	}
	for _, l := range literals {
		text, ok := literalText(l)
		if !ok {
			continue
		}
		switch code, known := attribute.Country(text); {
		case !known:
			v.refuse(l, fmt.Sprintf("%q is not a country; %s is a two-letter code such as \"DE\"", text, attributeOf(field)))
		case code != text:
			v.refuse(l, fmt.Sprintf("%s is a two-letter code: write %q for %q", attributeOf(field), code, text))
		}
	}
}

package condition

import (
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/leadbaton/baton/services/internal/attribute"
)

// Limits of a condition. They keep compiling and evaluating any text small.
const (
	maxSource   = 4096    // characters
	maxNodes    = 2000    // parts of the expression, after macros are expanded
	maxNesting  = 50      // brackets and calls within each other
	maxRegex    = 5000    // instructions of a compiled pattern
	maxLoopCost = 200_000 // CEL's cost of an evaluation that loops over a list
)

// Env is what conditions may speak of, and the types of that. It is safe for concurrent use.
type Env struct {
	cel    *cel.Env
	fields map[string]attribute.Type
	// names are the variables that a condition here may use.
	names []string
}

// NewEnv returns the Env of an agreement's conditions: event, campaign (whatever the event carries), lead, account
// (declared fields by their type, all others text), and source (text). The keys of fields are such as "lead.title".
func NewEnv(fields map[string]attribute.Type) *Env {
	return newEnv(&provider{fields: fields}, baseNames)
}

// NewRosterEnv returns the Env of a roster's conditions: those of NewEnv, and score (a number), grade, path and
// agreement (texts). With nil fields every attribute of lead and account is dynamic: a roster serves all agreements,
// so when it is read no declarations may be at hand.
func NewRosterEnv(fields map[string]attribute.Type) *Env {
	return newEnv(&provider{fields: fields, dynamic: fields == nil}, slices.Concat(baseNames, rosterNames))
}

// Only returns an Env whose conditions may use only some of the variables, since no others are known where they are
// evaluated.
func (e *Env) Only(names ...string) *Env { return &Env{cel: e.cel, fields: e.fields, names: names} }

var (
	baseNames   = []string{"event", "lead", "account", "campaign", "source"}
	rosterNames = []string{"score", "grade", "path", "agreement"}
)

// baseEnv is the part of every Env that does not depend on fields; it is costly to build.
var baseEnv = sync.OnceValue(func() *cel.Env {
	opts := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(maxSource),
		cel.ParserRecursionLimit(maxNesting),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegex),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals()),
		cel.Variable("event", eventType),
		cel.Variable("lead", leadType),
		cel.Variable("account", accountType),
		cel.Variable("campaign", campaignType),
		cel.Variable("source", cel.StringType),
		cel.Variable("score", cel.DoubleType),
		cel.Variable("grade", cel.StringType),
		cel.Variable("path", cel.StringType),
		cel.Variable("agreement", cel.StringType),
	}
	// Names that are no identifiers are reached by index: event["utm-source"].
	for _, t := range []*types.Type{eventType, leadType, accountType, campaignType} {
		name := strings.ReplaceAll(t.TypeName(), ".", "_")
		opts = append(opts,
			cel.Function(operators.Index, cel.Overload("index_"+name, []*cel.Type{t, cel.StringType}, cel.DynType)),
			cel.Function(operators.In, cel.Overload("in_"+name, []*cel.Type{cel.StringType, t}, cel.BoolType)))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		panic("condition: the environment is wrong: " + err.Error())
	}
	return env
})

func newEnv(p *provider, names []string) *Env {
	base := baseEnv()
	p.Provider = base.CELTypeProvider()
	env, err := base.Extend(cel.CustomTypeProvider(p))
	if err != nil {
		panic("condition: the environment is wrong: " + err.Error())
	}
	return &Env{cel: env, fields: p.fields, names: names}
}

// Compile checks a condition and makes it ready. The error is Errors, with places within src.
func (e *Env) Compile(src string) (*Program, error) {
	if strings.TrimSpace(src) == "" {
		return nil, Errors{{Line: 1, Column: 1, Message: "the condition is empty"}}
	}
	ast, issues := e.cel.Compile(src)
	if issues != nil && issues.Err() != nil {
		return nil, e.explain(src, issues.Errors())
	}
	if !ast.OutputType().IsExactType(cel.BoolType) && !ast.OutputType().IsExactType(cel.DynType) {
		return nil, Errors{{Line: 1, Column: 1, Message: "a condition must be true or false, but this is " + typeName(ast.OutputType().String())}}
	}
	v := &visitor{env: e, info: ast.NativeRep().SourceInfo()}
	celast.PreOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(v.visit))
	if len(v.errs) > 0 {
		return nil, v.errs
	}
	opts := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if v.loops {
		// Only a loop can cost more than its text and its texts are long; tracking the cost doubles that of all others.
		opts = append(opts, cel.CostLimit(maxLoopCost))
	}
	prog, err := e.cel.Program(ast, opts...)
	if err != nil {
		return nil, Errors{{Line: 1, Column: 1, Message: err.Error()}}
	}
	slices.Sort(v.attributes)
	p := &Program{src: src, prog: prog, attributes: slices.Compact(v.attributes)}
	if !v.loops {
		// What a loop may cost is counted over the whole condition, so all of such a one is cel-go's.
		c := &shaper{ast: ast.NativeRep()}
		if t := c.test(ast.NativeRep().Expr()); c.shaped > 0 {
			p.test = t
		}
	}
	return p, nil
}

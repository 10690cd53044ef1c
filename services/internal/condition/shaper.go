package condition

import (
	"regexp"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/leadbaton/baton/services/internal/attribute"
)

// shaper finds the shapes of a checked condition.
type shaper struct {
	ast *celast.AST
	// shaped counts the parts that have a shape, asked those left to cel-go.
	shaped, asked int
}

// test returns the shape of a part that is true or false.
func (c *shaper) test(e celast.Expr) test {
	if t := c.shape(e); t != nil {
		c.shaped++
		return t
	}
	c.asked++
	return ask{}
}

// shape returns nil if the part has none.
func (c *shaper) shape(e celast.Expr) test {
	switch e.Kind() {
	case celast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return always(b)
		}
		return nil
	case celast.SelectKind:
		if e.AsSelect().IsTestOnly() {
			if o, ok := c.member(e.AsSelect().Operand(), e.AsSelect().FieldName()); ok {
				return &present{o}
			}
			return nil
		}
	case celast.CallKind:
		if t := c.call(e.AsCall()); t != nil {
			return t
		}
	}
	if o, ok := c.operand(e); ok {
		return &flag{o}
	}
	return nil
}

func (c *shaper) call(call celast.CallExpr) test {
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]celast.Expr{call.Target()}, args...)
	}
	name := call.FunctionName()
	switch name {
	case operators.LogicalAnd:
		var t all
		for _, part := range c.tests(args) {
			if inner, ok := part.(all); ok {
				t = append(t, inner...)
			} else {
				t = append(t, part)
			}
		}
		return t
	case operators.LogicalOr:
		var t some
		for _, part := range c.tests(args) {
			if inner, ok := part.(some); ok {
				t = append(t, inner...)
			} else {
				t = append(t, part)
			}
		}
		return t
	case operators.LogicalNot:
		return not{c.test(args[0])}
	case operators.Conditional:
		t := c.tests(args)
		return &choice{t[0], t[1], t[2]}
	}
	if len(args) != 2 {
		return nil
	}
	if name == operators.In {
		return c.membership(args[0], args[1])
	}
	a, known := c.operand(args[0])
	b, ok := c.operand(args[1])
	if !known || !ok {
		return nil
	}
	return comparison(name, a, b)
}

func (c *shaper) tests(parts []celast.Expr) []test {
	out := make([]test, len(parts))
	for i, part := range parts {
		out[i] = c.test(part)
	}
	return out
}

// comparison returns the test of a function or operator that takes two values; nil if it has no shape.
func comparison(name string, a, b operand) test {
	text, literal := b.literal.Str, b.from == fromLiteral && b.literal.Kind == attribute.Text && !b.size
	switch name {
	case operators.Equals, operators.NotEquals:
		differ := name == operators.NotEquals
		if literal {
			return &isText{a, text, differ}
		}
		return &equality{a, b, differ}
	case operators.Less:
		return &order{a: a, b: b, less: true}
	case operators.LessEquals:
		return &order{a: a, b: b, less: true, same: true}
	case operators.Greater:
		return &order{a: a, b: b, more: true}
	case operators.GreaterEquals:
		return &order{a: a, b: b, more: true, same: true}
	case "startsWith":
		if literal {
			return &prefix{a, text}
		}
		return &affix{a, b, strings.HasPrefix}
	case "endsWith":
		return &affix{a, b, strings.HasSuffix}
	case "contains":
		return &affix{a, b, strings.Contains}
	case "matches":
		if re, err := regexp.Compile(text); literal && err == nil {
			return &pattern{a, re}
		}
	}
	return nil
}

// membership returns the test of `in`: of a name in an object, or of a value in a list of literals.
func (c *shaper) membership(what, in celast.Expr) test {
	if name, ok := literalText(what); ok && in.Kind() == celast.IdentKind {
		if o, ok := c.member(in, name); ok {
			return &present{o}
		}
		return nil
	}
	of, ok := c.operand(what)
	if !ok || in.Kind() != celast.ListKind || len(in.AsList().Elements()) == 0 || len(in.AsList().OptionalIndices()) > 0 {
		return nil
	}
	t := &among{of: of}
	for _, e := range in.AsList().Elements() {
		v := literal(e)
		if v.Kind == attribute.None || v.Kind == attribute.Null {
			return nil
		}
		t.set.add(&v)
	}
	t.set.sort()
	return t
}

// operand returns where the value of a part is from; false if that is no literal, field or variable.
func (c *shaper) operand(e celast.Expr) (o operand, ok bool) {
	switch e.Kind() {
	case celast.LiteralKind:
		v := literal(e)
		return operand{from: fromLiteral, literal: v}, v.Kind != attribute.None
	case celast.IdentKind:
		from, ok := origins[e.AsIdent()]
		return operand{from: from}, ok && !from.isObject()
	case celast.SelectKind:
		if e.AsSelect().IsTestOnly() {
			return o, false
		}
		if o, ok = c.member(e.AsSelect().Operand(), e.AsSelect().FieldName()); ok {
			o.kind, ok = kindOf(c.ast.GetType(e.ID()))
		}
		return o, ok
	case celast.CallKind:
		return c.called(e.AsCall())
	default:
		return o, false
	}
}

// called returns the operand of size(), and of event["name"].
func (c *shaper) called(call celast.CallExpr) (o operand, ok bool) {
	args := call.Args()
	switch {
	case call.FunctionName() == operators.Index && len(args) == 2:
		if name, ok := literalText(args[1]); ok {
			return c.member(args[0], name)
		}
	case call.FunctionName() == "size":
		if call.IsMemberFunction() {
			args = []celast.Expr{call.Target()}
		}
		o, ok = c.operand(args[0])
		ok = ok && !o.size && (o.kind == attribute.None || o.kind == attribute.Text)
		o.size = true
		return o, ok
	}
	return o, false
}

// member returns a field of one of the objects that a Scope has.
func (c *shaper) member(of celast.Expr, name string) (o operand, ok bool) {
	if of.Kind() != celast.IdentKind {
		return o, false
	}
	from := origins[of.AsIdent()]
	return operand{from: from, name: name}, from.isObject()
}

// kindOf returns the kind of the values of a type; None if it may be any. It is false for types that no field has.
func kindOf(t *types.Type) (attribute.Kind, bool) {
	switch {
	case t.IsExactType(types.DynType):
		return attribute.None, true
	case t.IsExactType(types.StringType):
		return attribute.Text, true
	case t.IsExactType(types.IntType):
		return attribute.Int, true
	case t.IsExactType(types.BoolType):
		return attribute.Bool, true
	}
	return attribute.None, false
}

// literal returns the value of a literal; None if it is none, or of a kind that no attribute has.
func literal(e celast.Expr) attribute.Value {
	if e.Kind() != celast.LiteralKind {
		return attribute.Value{}
	}
	switch v := e.AsLiteral().(type) {
	case types.String:
		return attribute.TextOf(string(v))
	case types.Int:
		return attribute.IntOf(int64(v))
	case types.Double:
		return attribute.Value{Kind: attribute.Float, Num: float64(v)}
	case types.Bool:
		return attribute.BoolOf(bool(v))
	case types.Null:
		return attribute.Value{Kind: attribute.Null}
	}
	return attribute.Value{}
}

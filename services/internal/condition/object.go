package condition

import (
	"errors"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/leadbaton/baton/services/internal/attribute"
)

// object shows an attribute.Object to CEL. Values are converted when they are asked for.
type object struct {
	values attribute.Object
	typ    *types.Type
}

var errObject = errors.New("an object of a condition has no other form")

// errUnknown is the error of every name that is not known. It carries an expression id, for without one CEL writes the
// id of the expression into it, and it is shared.
var errUnknown = types.NewErrWithNodeID(1, "not known").(*types.Err)

// FindStringKey is how CEL selects a field by a constant name.
func (o *object) FindStringKey(name string) (any, bool) {
	if o.values == nil {
		return nil, false
	}
	v := toCEL(o.values.Lookup(name))
	return v, v != nil
}

// Get implements traits.Indexer.
func (o *object) Get(index ref.Val) ref.Val {
	name, ok := index.(types.String)
	if !ok || o.values == nil {
		return errUnknown
	}
	if v := toCEL(o.values.Lookup(string(name))); v != nil {
		return v
	}
	return errUnknown
}

// IsSet implements traits.FieldTester.
func (o *object) IsSet(field ref.Val) ref.Val { return o.Contains(field) }

// Contains implements traits.Container.
func (o *object) Contains(field ref.Val) ref.Val {
	name, ok := field.(types.String)
	return types.Bool(ok && o.values != nil && o.values.Lookup(string(name)).Kind != attribute.None)
}

// ConvertToNative implements ref.Val.
func (o *object) ConvertToNative(reflect.Type) (any, error) { return nil, errObject }

// ConvertToType implements ref.Val.
func (o *object) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return o.typ
	}
	return types.NewErr("%v", errObject)
}

// Equal implements ref.Val: an object equals itself.
func (o *object) Equal(other ref.Val) ref.Val { return types.Bool(ref.Val(o) == other) }

// Type implements ref.Val.
func (o *object) Type() ref.Type { return o.typ }

// Value implements ref.Val.
func (o *object) Value() any { return o }

// toCEL converts a value; nil if it is absent, or is JSON that cannot be read.
func toCEL(v attribute.Value) ref.Val {
	switch v.Kind {
	case attribute.Null:
		return types.NullValue
	case attribute.Text:
		return types.String(v.Str)
	case attribute.Int:
		return types.Int(v.Int)
	case attribute.Float:
		return types.Double(v.Num)
	case attribute.Bool:
		return types.Bool(v.Int != 0)
	case attribute.JSON:
		return fromJSON(v.Str)
	case attribute.None:
	}
	return nil
}

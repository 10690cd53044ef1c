package condition

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// fromJSON converts an object or a list; nil if the text is not JSON.
func fromJSON(text string) ref.Val {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return nil
	}
	return fromAny(v)
}

func fromAny(v any) ref.Val {
	switch v := v.(type) {
	case string:
		return types.String(v)
	case float64:
		return types.Double(v)
	case bool:
		return types.Bool(v)
	case []any:
		items := make([]ref.Val, len(v))
		for i, item := range v {
			items[i] = fromAny(item)
		}
		return types.NewRefValList(types.DefaultTypeAdapter, items)
	case map[string]any:
		values := make(map[string]ref.Val, len(v))
		for key, item := range v {
			values[key] = fromAny(item)
		}
		return &jsonMap{values: values}
	}
	return types.NullValue
}

// jsonMap is a JSON object as a CEL map. It is read in the order of its keys: CEL's own maps have none, and a
// condition must have the same result everywhere.
type jsonMap struct {
	values map[string]ref.Val
	keys   []string
}

// FindStringKey is how CEL selects a field by a constant name.
func (m *jsonMap) FindStringKey(name string) (any, bool) {
	v, ok := m.values[name]
	return v, ok
}

// Find implements traits.Mapper.
func (m *jsonMap) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	v, ok := m.values[string(name)]
	return v, ok
}

// Get implements traits.Indexer.
func (m *jsonMap) Get(key ref.Val) ref.Val {
	if v, ok := m.Find(key); ok {
		return v
	}
	return errUnknown
}

// Contains implements traits.Container.
func (m *jsonMap) Contains(key ref.Val) ref.Val {
	_, ok := m.Find(key)
	return types.Bool(ok)
}

// Size implements traits.Sizer.
func (m *jsonMap) Size() ref.Val { return types.Int(len(m.values)) }

// Iterator implements traits.Iterable, over the sorted keys.
func (m *jsonMap) Iterator() traits.Iterator {
	if m.keys == nil {
		m.keys = slices.Sorted(maps.Keys(m.values))
	}
	return types.NewStringList(types.DefaultTypeAdapter, m.keys).Iterator()
}

// Equal implements ref.Val.
func (m *jsonMap) Equal(other ref.Val) ref.Val {
	o, ok := other.(*jsonMap)
	if !ok || len(m.values) != len(o.values) {
		return types.False
	}
	for key, v := range m.values {
		w, ok := o.values[key]
		if !ok || types.Equal(v, w) != types.True {
			return types.False
		}
	}
	return types.True
}

// ConvertToNative implements ref.Val.
func (m *jsonMap) ConvertToNative(reflect.Type) (any, error) { return nil, errObject }

// ConvertToType implements ref.Val.
func (m *jsonMap) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.MapType:
		return m
	case types.TypeType:
		return types.MapType
	}
	return types.NewErr("%v", errObject)
}

// Type implements ref.Val.
func (m *jsonMap) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (m *jsonMap) Value() any { return m }

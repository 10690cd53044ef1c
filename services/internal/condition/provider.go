package condition

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/leadbaton/baton/services/internal/attribute"
)

const objectTraits = traits.ContainerType | traits.FieldTesterType | traits.IndexerType

var (
	eventType    = types.NewObjectType("baton.Event", objectTraits)
	leadType     = types.NewObjectType("baton.Lead", objectTraits)
	accountType  = types.NewObjectType("baton.Account", objectTraits)
	campaignType = types.NewObjectType("baton.Campaign", objectTraits)
)

// provider knows the types of the fields of our objects, for any name: what is undeclared is text (lead, account) or
// dynamic (event, campaign). So a wrong type is found when the condition is compiled.
type provider struct {
	types.Provider // CEL's own types
	fields         map[string]attribute.Type
	dynamic        bool // undeclared attributes are dynamic, not text
}

// FindStructType implements types.Provider.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	switch name {
	case eventType.TypeName(), leadType.TypeName(), accountType.TypeName(), campaignType.TypeName():
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	switch name {
	case eventType.TypeName(), leadType.TypeName(), accountType.TypeName(), campaignType.TypeName():
		return nil, true
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType implements types.Provider.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	switch name {
	case eventType.TypeName(), campaignType.TypeName():
		return &types.FieldType{Type: types.DynType}, true
	case leadType.TypeName():
		if field == "freeMail" {
			return &types.FieldType{Type: types.BoolType}, true
		}
		if field == "emailDomain" {
			return &types.FieldType{Type: types.StringType}, true
		}
		return p.attribute("lead." + field), true
	case accountType.TypeName():
		return p.attribute("account." + field), true
	}
	return p.Provider.FindStructFieldType(name, field)
}

func (p *provider) attribute(name string) *types.FieldType {
	declared, ok := p.fields[name]
	if !ok && p.dynamic {
		return &types.FieldType{Type: types.DynType}
	}
	switch declared {
	case attribute.TypeInt:
		return &types.FieldType{Type: types.IntType}
	case attribute.TypeBool:
		return &types.FieldType{Type: types.BoolType}
	case attribute.TypeText, attribute.TypeCountry:
	}
	return &types.FieldType{Type: types.StringType}
}

// NewValue implements types.Provider. Conditions make no objects.
func (p *provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	return types.NewErr("an object of type %s cannot be made in a condition", name)
}

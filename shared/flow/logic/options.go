package logic

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// options makes of a list of objects what data-source takes. It looks at the
// types itself, to say what came.
func options(args ...ref.Val) ref.Val {
	id, named := args[1].(types.String)
	title, titled := args[2].(types.String)
	from, ok := args[0].(traits.Lister)
	switch {
	case !ok:
		return fail("options: expected a list, got %s", came(args[0]))
	case !named || !titled:
		return fail("options: the names of the members must be texts")
	}
	var made []ref.Val
	for i := from.Iterator(); i.HasNext() == types.True; {
		next := i.Next()
		item, ok := next.(traits.Mapper)
		if !ok {
			return fail("options: expected objects in the list, but item %d is %s", len(made), came(next))
		}
		one := map[ref.Val]ref.Val{}
		for _, member := range []struct{ name, field types.String }{{"id", id}, {"title", title}} {
			value, found := item.Find(member.field)
			if !found {
				return types.WrapErr(&lackingMember{len(made), string(member.name), string(member.field)})
			}
			if one[member.name] = value.ConvertToType(types.StringType); types.IsError(one[member.name]) {
				return fail("options: the %s of item %d is %s, expected a text", member.name, len(made), came(value))
			}
		}
		made = append(made, types.NewRefValMap(types.DefaultTypeAdapter, one))
	}
	return types.NewRefValList(types.DefaultTypeAdapter, made)
}

// lackingMember is an item of options without one of its members.
type lackingMember struct {
	item     int
	as, name string
}

func (e *lackingMember) Error() string { return e.reason(nil) }

// reason repeats the name only if it is one of those the rules themselves hold.
func (e *lackingMember) reason(known []string) string {
	if slices.Contains(known, e.name) {
		return fmt.Sprintf("options: item %d has no %s", e.item, clip(e.name))
	}
	return fmt.Sprintf("options: item %d lacks what its %s is made of", e.item, e.as)
}

// came names the type of a value, never the value.
func came(v ref.Val) string {
	switch v := v.(type) {
	case types.Null:
		return "null"
	case traits.Mapper, *view:
		return "an object"
	case traits.Lister:
		return "an array"
	default:
		if t, ok := v.Type().(*types.Type); ok {
			return withArticle(typeName(t))
		}
	}
	return "another value"
}

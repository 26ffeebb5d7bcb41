package logic

import (
	"math"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// constant is a plain value of the file as it stands, for constants and
// fallbacks.
func constant(n *node) (ref.Val, *types.Type) {
	switch n.kind {
	case list:
		values := make([]ref.Val, 0, len(n.items))
		var item *types.Type
		for _, member := range n.items {
			v, t := constant(member)
			values = append(values, v)
			item = common(item, t)
		}
		if item == nil {
			item = types.DynType
		}
		return types.NewRefValList(types.DefaultTypeAdapter, values), types.NewListType(item)
	case mapping:
		members := make(map[ref.Val]ref.Val, len(n.members))
		for _, m := range n.members {
			members[types.String(m.name)], _ = constant(m.value)
		}
		return types.NewRefValMap(types.DefaultTypeAdapter, members), types.NewMapType(types.StringType, types.DynType)
	case null:
		return types.NullValue, types.DynType
	}
	switch {
	case n.isString:
		return types.String(n.text), types.StringType
	case strings.EqualFold(n.text, "true"):
		return types.True, types.BoolType
	case strings.EqualFold(n.text, "false"):
		return types.False, types.BoolType
	}
	if i, err := strconv.ParseInt(n.text, 0, 64); err == nil {
		return types.Int(i), types.IntType
	}
	if f, err := strconv.ParseFloat(n.text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
		return types.Double(f), types.DoubleType
	}
	return types.String(n.text), types.StringType
}

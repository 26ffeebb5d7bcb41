package logic

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// Limits of one expression. Cost is CEL's own measure: about one for each
// operation and for each ten bytes of text that is looked at.
const (
	maxExpression = 4096 // characters
	maxNodesOfOne = 2000 // parts, macros written out
	maxNesting    = 200  // brackets within brackets, terms of a sum
	maxRegexp     = 2000 // instructions of a pattern
	maxLiteral    = 16   // lists and objects within each other: the checker's work grows with the cube
	maxLoops      = 4    // map, filter and the like, within or after each other

	// maxCost ends an evaluation: some 20 ms of computing.
	maxCost = 1_000_000

	// maxEstimate refuses an expression when it is loaded: on answers of usual
	// size it could cost this much.
	maxEstimate = 100_000_000
)

// language is what all expressions share.
var language = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(maxNesting),
		cel.ParserErrorRecoveryLimit(3),
		cel.ExpressionNodeLimit(maxNodesOfOne),
		cel.RegexProgramSizeLimit(maxRegexp),
		cel.EnableIdentifierEscapeSyntax(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals(), cel.ValidateComprehensionNestingLimit(maxLoops)),
		ext.Lists(ext.ListsMaxRangeSize(maxRange)),
		ext.Math(),
		ext.Sets(),
		cel.Variable("now", cel.TimestampType),
	}
	return cel.NewEnv(append(options, functions()...)...)
})

var programOptions = []cel.ProgramOption{
	cel.EvalOptions(cel.OptOptimize),
	cel.CostTracking(prices{}),
	cel.CostLimit(maxCost),
	cel.InterruptCheckFrequency(100),
}

// prices are what our own functions cost: as CEL's own do, for the bytes they
// read and make.
type prices struct{}

// CallCost implements cost.ActualCostEstimator.
func (prices) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	if !ours[function] {
		return nil
	}
	price := uint64(1) + sizeOf(result)/10
	for _, arg := range args {
		price += sizeOf(arg) / 10
	}
	return &price
}

func sizeOf(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v))
	case traits.Lister:
		if n, ok := v.Size().(types.Int); ok {
			return uint64(n) * 20
		}
	}
	return 0
}

var ours = map[string]bool{
	"lower": true, "upper": true, "trim": true, "indexOf": true, "substring": true, "replace": true, "split": true, "join": true,
	"fixed": true, "urlEncode": true, "range": true, "options": true, "date": true, "addDays": true, "weekday": true,
	"formatDate": true, "randomID": true, "randomDigits": true,
}

// Sizes that an estimate takes for what is not known before: a text of a
// person's length, a list of a page's length.
const (
	usualText = 1000
	usualList = 200
)

// estimator implements cost.Estimator.
type estimator struct{}

func (estimator) EstimateSize(element cost.AstNode) *cost.SizeEstimate {
	if element.ComputedSize() != nil {
		return nil
	}
	switch element.Type().Kind() {
	case types.StringKind, types.BytesKind:
		return &cost.SizeEstimate{Max: usualText}
	case types.ListKind, types.MapKind, types.DynKind:
		return &cost.SizeEstimate{Max: usualList}
	}
	return nil
}

func (estimator) EstimateCallCost(function, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	if !ours[function] {
		return nil
	}
	result := cost.SizeEstimate{Max: usualList}
	if function == "range" {
		result.Max = maxRange
	}
	return cost.NewCallEstimate(cost.Estimate{Min: 1, Max: usualList}, &result)
}

package validate

var actionRules, expressionRules, payloadRules []rule

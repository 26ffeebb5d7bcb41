package logic

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

var operators = map[string]string{
	"_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">=", "_==_": "==", "_!=_": "!=",
	"_&&_": "&&", "_||_": "||", "!_": "!", "-_": "-", "@in": "in", "_?_:_": "? :", "_[_]": "[ ]",
}

// misfit says that an operation has no meaning for the types it is given.
func misfit(env *cel.Env, function, arguments string) string {
	name, hint := function, ""
	if sign := operators[function]; sign != "" {
		name = sign
	}
	text, numeric := strings.Contains(arguments, "string"), strings.Contains(arguments, "int") || strings.Contains(arguments, "double")
	if text && numeric {
		switch name {
		case "+":
			hint = ": string(…) makes a text of a number, int(…) a number of a text"
		case "<", "<=", ">", ">=", "==", "!=", "-", "*", "/", "in":
			hint = ": what a user types is a string, int(…) makes a number of it"
		}
	}
	if ours[function] {
		hint = ": " + usage(env, function)
	}
	return fmt.Sprintf("%s does not take %s%s", name, arguments, hint)
}

// usage says how one of our own functions is called.
func usage(env *cel.Env, name string) string {
	var forms []string
	member := false
	for _, overload := range env.Functions()[name].OverloadDecls() {
		var args []string
		for _, t := range overload.ArgTypes() {
			args = append(args, argumentName(t))
		}
		form := "(" + strings.Join(args, ", ") + ")"
		if member = overload.IsMemberFunction(); member {
			form = args[0] + "." + name + "(" + strings.Join(args[1:], ", ") + ")"
		}
		forms = append(forms, form)
	}
	if member {
		return "write " + strings.Join(forms, " or ")
	}
	return name + " takes " + strings.Join(forms, " or ")
}

func argumentName(t *types.Type) string {
	switch t.Kind() {
	case types.StringKind:
		return "text"
	case types.IntKind:
		return "whole number"
	case types.ListKind:
		return "list"
	case types.TimestampKind:
		return "time"
	}
	return "number" // of fixed, whole or not
}

var (
	oddSign   = regexp.MustCompile(`^token recognition error at: '([=&|])`)
	oddInput  = regexp.MustCompile(`^(?:mismatched|extraneous) input '(\w+)'`)
	twoWords  = regexp.MustCompile(`^\p{Lu}?\p{L}*,? \p{L}`)
	ofALogic  = regexp.MustCompile(`[\w)\]]\.\w|[()\[\]{}=<>+"]|&&|\|\||(^|[^\p{L}])'|'($|[^\p{L}])`)
	wordSigns = map[string]string{"=": "write == to compare", "&": "write && for and", "|": "write || for or"}
)

const wordsAsSigns = "write && for and, || for or, ! for not"

// looksLikeWords says that a text is a sentence somebody left unquoted.
func looksLikeWords(text string) bool { return !ofALogic.MatchString(text) }

// quoted is a text as an expression between the quotes of YAML or JSON.
func quoted(text string) string { return `"'` + strings.ReplaceAll(clip(text), `'`, `\\'`) + `'"` }

// syntaxHint says in words of this place why an expression does not parse.
// before is what stands in front of the mistake.
func syntaxHint(message, text, before string) string {
	message = strings.TrimPrefix(message, "Syntax error: ")
	if strings.Contains(message, "reserved identifier: const") {
		return "const is a word of CEL itself: write constants.name"
	}
	if looksLikeWords(text) {
		if first, _ := utf8.DecodeRuneInString(text); strings.ContainsRune("‘’“”„", first) {
			return `this is no expression: the quotes of a text must be '`
		}
		return "this is no expression; a text needs quotes of its own: " + quoted(text)
	}
	if sign := oddSign.FindStringSubmatch(message); sign != nil {
		return "this is no expression: " + wordSigns[sign[1]]
	}
	if input := oddInput.FindStringSubmatch(message); input != nil {
		fields := strings.Fields(before)
		if isSignWord(input[1]) || len(fields) > 0 && isSignWord(strings.TrimLeft(fields[len(fields)-1], "(!")) {
			return "this is no expression: " + wordsAsSigns
		}
		if twoWords.MatchString(text) {
			return `this is no expression; a text needs quotes of its own, and + joins it to a value: "'Hello ' + user.name"`
		}
	}
	message, _, _ = strings.Cut(message, " expecting ")
	return "this is no expression: " + clip(strings.ReplaceAll(message, "'<EOF>'", "the end"))
}

func isSignWord(word string) bool {
	switch strings.ToLower(word) {
	case "and", "or", "not":
		return true
	}
	return false
}

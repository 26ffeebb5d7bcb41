package logic

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // images without a file system know the zones too
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

const (
	maxText  = 1 << 20 // bytes that a function on texts may make
	maxRange = 1000    // items that range may make
)

var (
	text0   = cel.StringType
	texts   = cel.ListType(cel.StringType)
	anyList = cel.ListType(cel.DynType)
	option  = cel.MapType(cel.StringType, cel.StringType)
)

// functions are those the language has beyond CEL's own. Each bounds what it
// makes; see prices for what they cost.
func functions() []cel.EnvOption {
	return []cel.EnvOption{
		onText("lower", nil, cel.StringType, func(s string, _ []ref.Val) ref.Val { return bounded(strings.ToLower(s)) }),
		onText("upper", nil, cel.StringType, func(s string, _ []ref.Val) ref.Val { return bounded(strings.ToUpper(s)) }),
		onText("trim", nil, cel.StringType, func(s string, _ []ref.Val) ref.Val { return types.String(strings.TrimSpace(s)) }),
		onText("indexOf", []*cel.Type{text0}, cel.IntType, indexOf),
		onText("substring", []*cel.Type{cel.IntType}, cel.StringType, substring),
		onText("substring", []*cel.Type{cel.IntType, cel.IntType}, cel.StringType, substring),
		onText("replace", []*cel.Type{text0, text0}, cel.StringType, replace),
		onText("split", []*cel.Type{text0}, texts, split),
		cel.Function("join", cel.MemberOverload("list_join", []*cel.Type{texts, text0}, text0, cel.BinaryBinding(joinTexts))),
		function("fixed", []*cel.Type{cel.DynType, cel.IntType}, text0, fixed),
		function("urlEncode", []*cel.Type{text0}, text0, func(args ...ref.Val) ref.Val { return bounded(urlEncode(string(args[0].(types.String)))) }),
		function("range", []*cel.Type{cel.IntType}, cel.ListType(cel.IntType), rangeOf),
		cel.Function("options", decls.DisableTypeGuards(true), cel.Overload("flow_options", []*cel.Type{anyList, text0, text0}, cel.ListType(option), cel.FunctionBinding(options))),
		function("date", []*cel.Type{cel.TimestampType, text0}, text0, date),
		function("addDays", []*cel.Type{text0, cel.IntType}, text0, addDays),
		function("weekday", []*cel.Type{text0}, cel.IntType, weekday),
		function("formatDate", []*cel.Type{text0, text0}, text0, formatDate),
		cel.Function("randomID", cel.Overload("random_id", nil, text0, cel.LateFunctionBinding())),
		cel.Function("randomDigits", cel.Overload("random_digits", []*cel.Type{cel.IntType}, text0, cel.LateFunctionBinding())),
	}
}

func function(name string, args []*cel.Type, result *cel.Type, f func(...ref.Val) ref.Val) cel.EnvOption {
	return cel.Function(name, cel.Overload("flow_"+name, args, result, cel.FunctionBinding(f)))
}

// onText declares a function that is called on a text: 'a'.upper().
func onText(name string, args []*cel.Type, result *cel.Type, f func(string, []ref.Val) ref.Val) cel.EnvOption {
	id := fmt.Sprintf("text_%s_%d", name, len(args))
	return cel.Function(name, cel.MemberOverload(id, append([]*cel.Type{text0}, args...), result,
		cel.FunctionBinding(func(args ...ref.Val) ref.Val { return f(string(args[0].(types.String)), args[1:]) })))
}

func fail(format string, args ...any) ref.Val { return types.WrapErr(badInput(format, args...)) }

func bounded(s string) ref.Val {
	if len(s) > maxText {
		return fail("a text of more than %d bytes", maxText)
	}
	return types.String(s)
}

func indexOf(s string, args []ref.Val) ref.Val {
	at := strings.Index(s, string(args[0].(types.String)))
	if at < 0 {
		return types.Int(-1)
	}
	return types.Int(utf8.RuneCountInString(s[:at]))
}

// substring takes places beyond the ends for the ends.
func substring(s string, args []ref.Val) ref.Val {
	runes := []rune(s)
	place := func(v ref.Val) int { return int(min(max(v.(types.Int), 0), types.Int(len(runes)))) }
	from, to := place(args[0]), len(runes)
	if len(args) > 1 {
		to = max(place(args[1]), from)
	}
	return types.String(runes[from:to])
}

func replace(s string, args []ref.Val) ref.Val {
	old, with := string(args[0].(types.String)), string(args[1].(types.String))
	// The size is known before anything is made: a text can be made to explode.
	if n := strings.Count(s, old); len(s)+n*max(len(with)-len(old), 0) > maxText {
		return fail("replace: a text of more than %d bytes", maxText)
	}
	return types.String(strings.ReplaceAll(s, old, with))
}

func split(s string, args []ref.Val) ref.Val {
	if strings.Count(s, string(args[0].(types.String))) > maxText/64 {
		return fail("split: more than %d parts", maxText/64)
	}
	return types.NewStringList(types.DefaultTypeAdapter, strings.Split(s, string(args[0].(types.String))))
}

func joinTexts(list, separator ref.Val) ref.Val {
	var b strings.Builder
	for i := list.(traits.Lister).Iterator(); i.HasNext() == types.True; {
		item, ok := i.Next().(types.String)
		if !ok {
			return fail("join: an item is no text")
		}
		if b.Len() > 0 {
			b.WriteString(string(separator.(types.String)))
		}
		if b.Len()+len(item) > maxText {
			return fail("join: a text of more than %d bytes", maxText)
		}
		b.WriteString(string(item))
	}
	return types.String(b.String())
}

func fixed(args ...ref.Val) ref.Val {
	digits := args[1].(types.Int)
	if digits < 0 || digits > 10 {
		return fail("fixed: the number of digits must be 0 to 10")
	}
	f, ok := args[0].ConvertToType(types.DoubleType).(types.Double)
	if !ok {
		return fail("fixed: it is no number")
	}
	return types.String(strconv.FormatFloat(float64(f), 'f', int(digits), 64))
}

// urlEncode leaves only what RFC 3986 calls unreserved, so that the result is
// safe in a path and in a query.
func urlEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '~', c == '.':
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func rangeOf(args ...ref.Val) ref.Val {
	n := args[0].(types.Int)
	if n < 0 || n > maxRange {
		return fail("range: expected 0 to %d", maxRange)
	}
	items := make([]ref.Val, n)
	for i := range items {
		items[i] = types.Int(i)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, items)
}

// zones are those in use; time.LoadLocation reads a file each time. There are
// some 600 names, so it stays small: zoneName leaves no second way to write one.
var (
	zones    sync.Map
	zoneName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)
)

func zone(name string) (*time.Location, bool) {
	if known, ok := zones.Load(name); ok {
		return known.(*time.Location), true
	}
	if !zoneName.MatchString(name) || name == "Local" { // Local is another zone on each machine
		return nil, false
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, false
	}
	zones.Store(name, location)
	return location, true
}

func date(args ...ref.Val) ref.Val {
	location, ok := zone(string(args[1].(types.String)))
	if !ok {
		return fail("date: unknown time zone, expected a name such as Europe/Berlin")
	}
	return types.String(args[0].(types.Timestamp).In(location).Format(time.DateOnly))
}

func day(v ref.Val) (time.Time, bool) {
	t, err := time.Parse(time.DateOnly, string(v.(types.String)))
	return t, err == nil
}

const noDate = "expected a date, YYYY-MM-DD"

func addDays(args ...ref.Val) ref.Val {
	t, ok := day(args[0])
	if !ok {
		return fail("addDays: " + noDate)
	}
	n := args[1].(types.Int)
	if n < -100_000 || n > 100_000 {
		return fail("addDays: more than 100000 days")
	}
	t = t.AddDate(0, 0, int(n))
	if t.Year() < 0 || t.Year() > 9999 {
		return fail("addDays: the year is beyond 0 to 9999")
	}
	return types.String(t.Format(time.DateOnly))
}

// weekday is 1 for Monday to 7 for Sunday, as ISO 8601 counts.
func weekday(args ...ref.Val) ref.Val {
	t, ok := day(args[0])
	if !ok {
		return fail("weekday: " + noDate)
	}
	return types.Int((int(t.Weekday())+6)%7 + 1)
}

// dateWords are what formatDate replaces, longest first.
var dateWords = []struct{ word, layout string }{
	{"dddd", "Monday"}, {"ddd", "Mon"}, {"MMMM", "January"}, {"MMM", "Jan"},
	{"YYYY", "2006"}, {"MM", "01"}, {"DD", "02"}, {"YY", "06"}, {"M", "1"}, {"D", "2"},
}

func formatDate(args ...ref.Val) ref.Val {
	t, ok := day(args[0])
	if !ok {
		return fail("formatDate: " + noDate)
	}
	layout := string(args[1].(types.String))
	if len(layout) > 256 {
		return fail("formatDate: the layout is longer than 256 bytes")
	}
	var b strings.Builder
next:
	for layout != "" {
		for _, w := range dateWords {
			if rest, found := strings.CutPrefix(layout, w.word); found {
				b.WriteString(t.Format(w.layout))
				layout = rest
				continue next
			}
		}
		b.WriteByte(layout[0])
		layout = layout[1:]
	}
	return types.String(b.String())
}

package validate

import "github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"

// shape is a kind of object with a fixed set of properties: a component, an
// option, an image of a carousel.
type shape struct {
	title      string // as messages name it: "TextInput", "an option of Dropdown"
	properties []property
	byName     map[string]*property
	names      []string
	needed     []*property // those that are required in some version
}

// newShape builds the index of a shape.
func newShape(title string, properties ...property) *shape {
	s := &shape{title: title, properties: properties, byName: make(map[string]*property, len(properties))}
	for i := range properties {
		s.byName[properties[i].name] = &properties[i]
		s.names = append(s.names, properties[i].name)
		if properties[i].required != (Version{}) {
			s.needed = append(s.needed, &properties[i])
		}
	}
	return s
}

// property is what Meta says of one attribute. The zero value of a field says
// that there is no such rule.
type property struct {
	name  string
	kinds valueType // of a static value
	// bound says that a ${…}, from 6.0 also an expression in backticks, may
	// stand in place of the static value.
	bound    bool
	since    Version // of Flow JSON; zero: as old as the component
	required Version // it must be there from this version on

	values   []string // a static string must be one of them
	min, max *int     // of a number, both ends allowed
	whole    bool     // a number must be an integer
	digits   bool     // Meta's page calls the number a string, its validator does not
	limit    int      // characters; the client shortens a longer text
	filled   Version  // a blank text is refused from this version on
	nonEmpty bool     // and an empty one before it, too
	format   format   // of a static string
	literal  bool     // from 6.0 neither a ${…} nor backticks
	ranged   bool     // in the range mode of CalendarPicker an object of two such values
	outside  bool     // only on a component that stands in no Form
	strings  bool     // the elements of an array are strings
	lines    Version  // from this version an array of strings may stand for the string
	each     *shape   // the object, or every element of the array, has this shape
	items    [2]int   // how many elements Meta's validator wants at least and at most; 0: any
	advised  [2]int   // the same as its page has it, which the validator does not hold to
}

// format is how a static string must be written.
type format uint8

const (
	anyText format = iota
	hexColor
	base64Image
)

// always is older than every version; the zero Version says "never".
var always = Version{0, 1}

// from says whether a rule that holds from a version on holds in v.
func (v Version) from(since Version) bool {
	return since != Version{} && v.AtLeast(since.Major, since.Minor)
}

// valueType is what kinds of JSON a value may have, as a set: a value known to
// be a string has one member, one of which sources disagree has two.
type valueType uint8

const (
	aString valueType = 1 << iota
	aNumber
	aBoolean
	anArray
	anObject
	aNull
)

var kindSet = [...]valueType{
	jsontree.Null: aNull, jsontree.Boolean: aBoolean, jsontree.Number: aNumber,
	jsontree.String: aString, jsontree.Array: anArray, jsontree.Object: anObject,
}

// has says whether the value may be of that kind.
func (t valueType) has(kind jsontree.Kind) bool { return t&kindSet[kind] != 0 }

// fits says whether values of two types can be of the same type.
func fits(a, b valueType) bool { return a == 0 || b == 0 || a&b != 0 }

// String names the kinds for a message: "string or array".
func (t valueType) String() string {
	var names string
	for kind, set := range kindSet {
		if t&set == 0 {
			continue
		}
		if names != "" {
			names += " or "
		}
		names += jsontree.Kind(kind).String()
	}
	return names
}

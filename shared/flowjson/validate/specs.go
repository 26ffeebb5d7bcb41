package validate

// Properties that many types share.
var (
	visible = property{name: "visible", kinds: aBoolean, bound: true}
	enabled = property{name: "enabled", kinds: aBoolean, bound: true}
	onClick = property{name: "on-click-action", kinds: anObject, required: always}
)

// typeOf is the property "type", which the rule component-type looks at.
var typeOf = property{name: "type", kinds: aString, required: always}

// textSpecs are the components that only show text. Where sources disagree on
// how much of a text shows, the limit is the larger one.
var textSpecs = []*componentSpec{
	{shape: newShape("TextHeading", typeOf, shownText(80), visible)},
	{shape: newShape("TextSubheading", typeOf, shownText(80), visible)},
	{shape: newShape("TextBody", append(styled, styledText())...)},
	// The page says 409; 4096 is what others count, and a warning at 409 would
	// be about texts that show in full.
	{shape: newShape("TextCaption", append(styled, styledText())...)},
	{since: Version{5, 1}, shape: newShape("RichText", typeOf,
		property{name: "text", kinds: aString, lines: Version{5, 1}, bound: true, required: always, filled: Version{5, 1}}, visible)},
	{shape: newShape("EmbeddedLink", typeOf, shownText(35), onClick, visible)},
}

func shownText(limit int) property {
	return property{name: "text", kinds: aString, bound: true, required: always, filled: Version{5, 0}, limit: limit}
}

func styledText() property {
	p := shownText(4096)
	p.lines = Version{5, 1}
	return p
}

var styled = []property{
	typeOf, visible,
	{name: "font-weight", kinds: aString, bound: true, values: []string{"bold", "italic", "bold_italic", "normal"}},
	{name: "strikethrough", kinds: aBoolean, bound: true},
	{name: "markdown", kinds: aBoolean, since: Version{5, 1}},
}

// structureSpecs are the components that hold others, and the footer.
var structureSpecs = []*componentSpec{
	{shape: newShape("Form", typeOf,
		property{name: "name", kinds: aString, required: always, filled: Version{6, 0}, nonEmpty: true},
		property{name: "children", kinds: anArray, required: always},
		property{name: "init-values", kinds: anObject, bound: true},
		property{name: "error-messages", kinds: anObject, bound: true})},
	{since: Version{4, 0}, shape: newShape("If", typeOf,
		property{name: "condition", kinds: aString | aBoolean, required: always},
		property{name: "then", kinds: anArray, required: always},
		property{name: "else", kinds: anArray})},
	{since: Version{4, 0}, shape: newShape("Switch", typeOf,
		property{name: "value", bound: true, required: always},
		property{name: "cases", kinds: anObject, required: always})},
	{shape: newShape("Footer", typeOf, onClick, enabled,
		property{name: "label", kinds: aString, bound: true, required: always, filled: Version{6, 0}, nonEmpty: true, limit: 35},
		caption("left-caption"), caption("center-caption"), caption("right-caption"))},
}

func caption(name string) property {
	return property{name: name, kinds: aString, bound: true, filled: Version{6, 0}, limit: 15}
}

// mediaSize may be bound by Meta's page and not by its validator.
func mediaSize(since Version) property {
	return property{name: "media-size", kinds: aString, bound: true, since: since, values: []string{"regular", "large"}}
}

// picture is a property that holds an image as base64.
func picture(name string, required Version) property {
	return property{name: name, kinds: aString, bound: true, required: required, format: base64Image}
}

// listSpecs are pictures and the navigation list.
var listSpecs = []*componentSpec{
	{shape: newShape("Image", typeOf, picture("src", always), visible,
		property{name: "width", kinds: aNumber, bound: true},
		property{name: "height", kinds: aNumber, bound: true},
		property{name: "scale-type", kinds: aString, values: []string{"cover", "contain"}},
		property{name: "aspect-ratio", kinds: aNumber, bound: true},
		property{name: "alt-text", kinds: aString, bound: true, filled: Version{6, 0}})},
	{since: Version{7, 1}, shape: newShape("ImageCarousel", typeOf, visible,
		property{name: "images", kinds: anArray, bound: true, required: always, items: [2]int{1, 3}, each: newShape("an image of ImageCarousel",
			picture("src", always),
			property{name: "alt-text", kinds: aString, required: always, filled: Version{6, 0}})},
		property{name: "aspect-ratio", kinds: aString, values: []string{"4:3", "16:9"}},
		property{name: "scale-type", kinds: aString, values: []string{"contain", "cover"}})},
	{since: Version{6, 2}, input: true, yields: yieldsString, shape: newShape("NavigationList", typeOf, inputName(),
		property{name: "label", kinds: aString, bound: true, filled: Version{6, 0}, limit: 80},
		property{name: "description", kinds: aString, bound: true, filled: Version{6, 0}, limit: 300},
		mediaSize(Version{}),
		property{name: "list-items", kinds: anArray, bound: true, required: always, items: [2]int{1, 0}, advised: [2]int{0, 20}, each: navigationItem},
		property{name: "on-click-action", kinds: anObject})},
}

var navigationItem = newShape("an item of NavigationList",
	property{name: "id", kinds: aString, required: always, filled: always},
	property{name: "enabled", kinds: aBoolean},
	property{name: "main-content", kinds: anObject, required: always, each: newShape("main-content",
		itemText("title", always, 30), itemText("description", Version{}, 20), itemText("metadata", Version{}, 80))},
	property{name: "end", kinds: anObject, each: newShape("end",
		itemText("title", Version{}, 10), itemText("description", Version{}, 10), itemText("metadata", Version{}, 10))},
	property{name: "start", kinds: anObject, each: newShape("start",
		picture("image", always), itemText("alt-text", Version{}, 0))},
	property{name: "badge", kinds: aString, filled: always, limit: 15},
	property{name: "tags", kinds: anArray, strings: true, items: [2]int{1, 3}, limit: 15},
	property{name: "on-click-action", kinds: anObject})

func itemText(name string, required Version, limit int) property {
	return property{name: name, kinds: aString, required: required, filled: always, limit: limit}
}

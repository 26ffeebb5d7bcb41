package validate

// What ${form.name} is (Meta's web client, component value schemas).
var (
	yieldsString  = func(*component) valueType { return aString }
	yieldsBoolean = func(*component) valueType { return aBoolean }
	yieldsArray   = func(*component) valueType { return anArray }
)

// yieldsText: Meta's validator takes numbers and passcodes for a number, and
// clients send them as a string.
func yieldsText(c *component) valueType {
	if entersNumber(c) {
		return aNumber | aString
	}
	return aString
}

func entersNumber(c *component) bool {
	kind := c.attr("input-type")
	return kind != nil && (kind.Text == "number" || kind.Text == "passcode")
}

func yieldsDates(c *component) valueType {
	if isRange(c) {
		return anObject
	}
	return aString
}

// isRange says that a CalendarPicker asks for two dates.
func isRange(c *component) bool {
	mode := c.attr("mode")
	return mode != nil && mode.Text == "range"
}

func inputName() property {
	return property{name: "name", kinds: aString, required: always, filled: Version{4, 0}, nonEmpty: true, literal: true}
}

func inputLabel(limit int) property {
	return property{name: "label", kinds: aString, bound: true, required: always, filled: Version{6, 0}, nonEmpty: true, limit: limit}
}

func shortText(name string, limit int) property {
	return property{name: name, kinds: aString, bound: true, filled: Version{6, 0}, limit: limit}
}

func boolean(name string) property { return property{name: name, kinds: aBoolean, bound: true} }

func countFrom(name string, least int) property {
	return property{name: name, kinds: aNumber, bound: true, min: &least}
}

// initValue and errorMessage are for components that stand in no Form: within
// one, the Form's init-values and error-messages do it.
func initValue(kinds valueType) property {
	return property{name: "init-value", kinds: kinds, bound: true, since: Version{4, 0}, strings: true, outside: true, filled: Version{6, 0}}
}

func errorMessage(limit int) property {
	return property{name: "error-message", kinds: aString, bound: true, since: Version{4, 0}, outside: true, filled: Version{6, 0}, limit: limit}
}

var (
	labelVariant   = property{name: "label-variant", kinds: aString, since: Version{7, 0}, values: []string{"large"}}
	onSelect       = property{name: "on-select-action", kinds: anObject}
	onUnselect     = property{name: "on-unselect-action", kinds: anObject, since: Version{6, 0}}
	textInputTypes = []string{"text", "number", "email", "password", "passcode", "phone"}
)

// inputSpecs are the components for text and consent.
var inputSpecs = []*componentSpec{
	{input: true, yields: yieldsText, shape: newShape("TextInput", typeOf, inputName(), inputLabel(20), visible, enabled, boolean("required"),
		shortText("helper-text", 80), labelVariant, initValue(aString), errorMessage(30),
		property{name: "input-type", kinds: aString, values: textInputTypes},
		property{name: "pattern", kinds: aString, bound: true, since: Version{6, 2}, filled: Version{6, 2}},
		property{name: "min-chars", kinds: aNumber, bound: true, digits: true},
		property{name: "max-chars", kinds: aNumber, bound: true, digits: true})},
	{input: true, yields: yieldsString, shape: newShape("TextArea", typeOf, inputName(), inputLabel(20), visible, enabled, boolean("required"),
		shortText("helper-text", 80), labelVariant, initValue(aString), errorMessage(0),
		property{name: "max-length", kinds: aNumber, whole: true, bound: true, digits: true})},
	{input: true, yields: yieldsBoolean, shape: newShape("OptIn", typeOf, inputName(), inputLabel(120), visible, boolean("required"), initValue(aBoolean),
		property{name: "on-click-action", kinds: anObject},
		property{name: "on-select-action", kinds: anObject, since: Version{6, 0}}, onUnselect)},
}

// choiceSpecs are the components with options.
var choiceSpecs = []*componentSpec{
	{input: true, yields: yieldsArray, shape: newShape("CheckboxGroup", append(group("CheckboxGroup"), initValue(anArray),
		countFrom("min-selected-items", 0), countFrom("max-selected-items", 2))...)},
	{input: true, yields: yieldsString, shape: newShape("RadioButtonsGroup", append(group("RadioButtonsGroup"), initValue(aString))...)},
	{since: Version{6, 3}, input: true, yields: yieldsArray, shape: newShape("ChipsSelector", typeOf, inputName(), visible, enabled, boolean("required"),
		property{name: "label", kinds: aString, bound: true, required: always, filled: Version{6, 0}, limit: 80},
		shortText("description", 300), initValue(anArray), errorMessage(0),
		countFrom("min-selected-items", 0), countFrom("max-selected-items", 1),
		property{name: "on-select-action", kinds: anObject, since: Version{7, 1}},
		property{name: "on-unselect-action", kinds: anObject, since: Version{7, 1}},
		property{name: "data-source", kinds: anArray, bound: true, required: always, items: [2]int{1, 0}, advised: [2]int{2, 20}, each: newShape("an option of ChipsSelector",
			optionID, optionText("title", always, 0), optionEnabled, optionAction("on-select-action"), optionAction("on-unselect-action"))})},
	{input: true, yields: yieldsString, shape: newShape("Dropdown", typeOf, inputName(), inputLabel(30), visible, enabled, boolean("required"),
		initValue(aString), errorMessage(0), onSelect, onUnselect, options("Dropdown", 200))},
}

// group is what CheckboxGroup and RadioButtonsGroup have in common.
func group(title string) []property {
	return []property{
		typeOf, inputName(), visible, enabled, boolean("required"), errorMessage(0), onSelect, onUnselect, options(title, 20),
		{name: "label", kinds: aString, bound: true, required: Version{4, 0}, filled: Version{5, 0}, limit: 30},
		{name: "description", kinds: aString, bound: true, since: Version{4, 0}, filled: Version{6, 0}, limit: 300},
		mediaSize(Version{5, 0}),
	}
}

func options(title string, most int) property {
	return property{name: "data-source", kinds: anArray, bound: true, required: always, items: [2]int{1, 0}, advised: [2]int{0, most}, each: newShape("an option of "+title,
		optionID, optionText("title", always, 30), optionText("description", Version{}, 300), optionText("metadata", Version{}, 20), optionEnabled,
		property{name: "image", kinds: aString, bound: true, since: Version{5, 0}, format: base64Image},
		property{name: "alt-text", kinds: aString, since: Version{5, 0}, filled: Version{5, 0}},
		property{name: "color", kinds: aString, since: Version{5, 0}, format: hexColor},
		optionAction("on-select-action"), optionAction("on-unselect-action"))}
}

var (
	optionID      = property{name: "id", kinds: aString, required: always, filled: Version{6, 0}}
	optionEnabled = property{name: "enabled", kinds: aBoolean, bound: true}
)

func optionText(name string, required Version, limit int) property {
	return property{name: name, kinds: aString, required: required, filled: Version{6, 0}, limit: limit}
}

func optionAction(name string) property {
	return property{name: name, kinds: anObject, since: Version{6, 0}}
}

// pickerSpecs are the components for dates and files.
var pickerSpecs = []*componentSpec{
	{input: true, yields: yieldsString, shape: newShape("DatePicker", append(dates, inputLabel(40), boolean("required"),
		shortText("helper-text", 80), initValue(aString), errorMessage(80))...)},
	{since: Version{6, 1}, input: true, yields: yieldsDates, shape: newShape("CalendarPicker", append(dates,
		ranged(inputLabel(40)), ranged(boolean("required")), ranged(shortText("helper-text", 80)), ranged(initValue(aString)), ranged(errorMessage(80)),
		shortText("title", 80), shortText("description", 300),
		property{name: "mode", kinds: aString, bound: true, values: []string{"single", "range"}},
		property{name: "include-days", kinds: anArray, strings: true, bound: true, items: [2]int{1, 7},
			values: []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}},
		property{name: "min-days", kinds: aNumber, whole: true, bound: true},
		property{name: "max-days", kinds: aNumber, whole: true, bound: true})...)},
	{since: Version{4, 0}, input: true, media: true, yields: yieldsArray, shape: newShape("PhotoPicker", append(files("photos"),
		property{name: "photo-source", kinds: aString, values: []string{"camera_gallery", "camera", "gallery"}})...)},
	{since: Version{4, 0}, input: true, media: true, yields: yieldsArray, shape: newShape("DocumentPicker", append(files("documents"),
		property{name: "allowed-mime-types", kinds: anArray, strings: true, items: [2]int{1, 0}, values: documentTypes})...)},
}

func ranged(p property) property {
	p.ranged = true
	return p
}

var dates = []property{
	typeOf, inputName(), visible, enabled, onSelect,
	{name: "min-date", kinds: aString, bound: true, filled: Version{6, 0}},
	{name: "max-date", kinds: aString, bound: true, filled: Version{6, 0}},
	{name: "unavailable-dates", kinds: anArray, strings: true, bound: true},
}

// files is what both pickers have. Their numbers are static: the client needs
// them before there is any data.
func files(of string) []property {
	return []property{
		typeOf, inputName(), visible, enabled,
		{name: "label", kinds: aString, bound: true, required: always, filled: Version{4, 0}, limit: 80},
		{name: "description", kinds: aString, bound: true, filled: Version{4, 0}, limit: 300},
		between("max-file-size-kb", 1, 25600), between("min-uploaded-"+of, 0, 30), between("max-uploaded-"+of, 1, 30),
		{name: "error-message", kinds: aString | anObject, bound: true, outside: true},
	}
}

func between(name string, least, most int) property {
	return property{name: name, kinds: aNumber, whole: true, min: &least, max: &most}
}

var documentTypes = []string{
	"application/gzip", "application/msword", "application/pdf", "application/vnd.ms-excel", "application/vnd.ms-powerpoint",
	"application/vnd.oasis.opendocument.presentation", "application/vnd.oasis.opendocument.spreadsheet", "application/vnd.oasis.opendocument.text",
	"application/vnd.openxmlformats-officedocument.presentationml.presentation", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document", "application/x-7z-compressed", "application/xml", "application/zip",
	"image/avif", "image/gif", "image/heic", "image/heif", "image/jpeg", "image/png", "image/tiff", "image/webp",
	"text/plain", "video/mp4", "video/mpeg",
}

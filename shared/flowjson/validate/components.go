package validate

import "slices"

// componentRules are about single components, itemRules about the objects in
// them, layoutRules about how they stand together.
var componentRules = slices.Concat(propertyRules, inputRules, dateRules)

// Codes that Meta's pages do not list; its web client's validator has them.
const (
	MaxItemsRequired             Code = "MAX_ITEMS_REQUIRED"
	InvalidDateRange             Code = "INVALID_DATE_RANGE"
	InvalidMinMaxDays            Code = "INVALID_MIN_MAX_DAYS"
	InvalidType                  Code = "INVALID_TYPE"
	MissingRangeProperty         Code = "MISSING_CALENDAR_PICKER_RANGE_MODE_PROP"
	UnexpectedRangeProperty      Code = "UNEXPECTED_CALENDAR_PICKER_RANGE_MODE_PROP"
	InvalidPropertyForCondition  Code = "INVALID_PROPERTY_NAME_FOR_CONDITION"
	InvalidValueForCondition     Code = "INVALID_PROPERTY_VALUE_FOR_CONDITION"
	DuplicatePropertyOfCondition Code = "DUPLICATE_PROPETY_FOR_CONDITION" // Meta's spelling
	ImageAndColor                Code = "DATA_SOURCE_ITEMS_HAVE_BOTH_IMAGE_AND_COLOR"
	InvalidUpdateDataPayload     Code = "INVALID_UPDATE_DATA_ACTION_PAYLOAD"
	InvalidComponentPlacement    Code = "INVALID_COMPONENT_PLACEMENT"
	InvalidRichTextPlacement     Code = "INVALID_RICHTEXT_PLACEMENT"
	MaximumIfNesting             Code = "MAXIMUM_IF_NESTING"
	MaxOfTypePerScreen           Code = "COMPONENT_TYPE_MAX_NUMBER_PER_SCREEN"
)

// componentSpec is what Meta says of one type of component.
type componentSpec struct {
	*shape
	since Version
	input bool // the user enters something: it has a name that ${form.name} reads
	media bool // what the user enters is a list of files
	// yields is what ${form.name} of an input is.
	yields func(c *component) valueType
}

// componentSpecs are all types of components of Flow JSON 7.3. The properties
// and their versions are those of Meta's page "Components" and, where it says
// nothing, of the schemas in WhatsApp's web client, which has those of 5.1 to
// 7.3. To add a type, add it to one of these lists.
var componentSpecs = func() map[string]*componentSpec {
	specs := map[string]*componentSpec{}
	for _, list := range [][]*componentSpec{textSpecs, structureSpecs, inputSpecs, choiceSpecs, pickerSpecs, listSpecs} {
		for _, spec := range list {
			specs[spec.title] = spec
		}
	}
	return specs
}()

// componentTypes are the names of all types, for suggestions.
var componentTypes = func() []string {
	var names []string
	for name := range componentSpecs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}()

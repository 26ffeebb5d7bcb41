package validate

// Problem is one thing Meta would refuse, or that an author should know, in
// the shape of Meta's validation_errors (Meta: "Flows API", "Flow JSON error
// codes").
type Problem struct {
	Error     Code      `json:"error"`
	ErrorType string    `json:"error_type"` // always FLOW_JSON_ERROR
	Message   string    `json:"message"`
	Span                // of the first pointer
	Pointers  []Pointer `json:"pointers"`

	// Rule names the rule of this project's list that found it.
	Rule string `json:"-"`
}

// Pointer is one place a problem is about.
type Pointer struct {
	Span
	Path string `json:"path"` // screens[0].layout.children[2].label
}

// Span is a part of the text: lines and columns from 1, columns in characters.
// ColumnEnd is the column after the last character.
type Span struct {
	LineStart   int `json:"line_start"`
	LineEnd     int `json:"line_end"`
	ColumnStart int `json:"column_start"`
	ColumnEnd   int `json:"column_end"`
}

// Report is what is to be said of one document, in the order of the text.
type Report struct {
	Errors   []Problem // Meta refuses the document
	Warnings []Problem // Meta accepts it
	// Truncated says that there may be more problems than are told.
	Truncated bool
}

// Valid says that Meta would accept the document, as far as is known.
func (r *Report) Valid() bool { return len(r.Errors) == 0 }

// MaxProblems bounds a report: of a hostile document it must not become larger
// than the document.
const MaxProblems = 500

// Code is the name Meta gives to a kind of problem.
type Code string

// Meta's codes. Those of warnings that Meta does not know are at the end.
const (
	InvalidPropertyKey         Code = "INVALID_PROPERTY_KEY"
	InvalidPropertyValue       Code = "INVALID_PROPERTY_VALUE"
	InvalidPropertyType        Code = "INVALID_PROPERTY_TYPE"
	InvalidPropertyValueFormat Code = "INVALID_PROPERTY_VALUE_FORMAT"
	MinItemsRequired           Code = "MIN_ITEMS_REQUIRED"
	MinCharsRequired           Code = "MIN_CHARS_REQUIRED"
	MissingRequiredType        Code = "MISSING_REQUIRED_TYPE_PROPERTY"
	MissingRequiredProperty    Code = "MISSING_REQUIRED_PROPERTY"
	PatternMismatch            Code = "PATTERN_MISMATCH"
	InvalidEnumValue           Code = "INVALID_ENUM_VALUE"
	InvalidDependencies        Code = "INVALID_DEPENDENCIES"
	NotKeyword                 Code = "NOT_KEYWORD_SCHEMA_VALIDATION_FAILED"
	KeywordOneOf               Code = "KEYWORD_ONE_OF"

	InvalidFlowJSON            Code = "INVALID_FLOW_JSON"
	InvalidFlowJSONVersion     Code = "INVALID_FLOW_JSON_VERSION"
	MissingFlowJSONVersion     Code = "MISSING_FLOW_JSON_VERSION"
	UnsupportedFlowJSONVersion Code = "UNSUPPORTED_FLOW_JSON_VERSION"
	UnavailableFlowJSONVersion Code = "UNAVAILABLE_FLOW_JSON_VERSION"
	NoSupportedDataAPIVersion  Code = "NO_SUPPORTED_DATA_API_VERSION"

	InvalidRoutingModel            Code = "INVALID_ROUTING_MODEL"
	InvalidOnClickActionPayload    Code = "INVALID_ON_CLICK_ACTION_PAYLOAD"
	InvalidCompleteAction          Code = "INVALID_COMPLETE_ACTION"
	InvalidNavigateActionPayload   Code = "INVALID_NAVIGATE_ACTION_PAYLOAD"
	InvalidNavigateActionNext      Code = "INVALID_NAVIGATE_ACTION_NEXT_SCREEN_NAME"
	InvalidScreenDynamicData       Code = "INVALID_SCREEN_DYNAMIC_DATA"
	InvalidScreenData              Code = "INVALID_SCREEN_DATA"
	InvalidActionPayloadProperty   Code = "INVALID_ACTION_PAYLOAD_PROPERTY"
	InvalidFooterPayload           Code = "INVALID_FOOTER_PAYLOAD_OUTSIDE_FORM"
	MaxScreensNumber               Code = "MAX_SCREENS_NUMBER"
	MaxFooterPerScreen             Code = "MAX_FOOTER_PER_SCREEN"
	MaxEmbeddedLinkPerScreen       Code = "MAX_EMBEDDED_LINK_PER_SCREEN"
	MaxImagePerScreen              Code = "MAX_IMAGE_PER_SCREEN"
	MaxOptInPerScreen              Code = "MAX_OPT_IN_PER_SCREEN"
	MinValueGreaterThanMax         Code = "MIN_VALUE_GREATER_THAN_MAX"
	MinimumValueRequired           Code = "MINIMUM_VALUE_REQUIRED"
	MaximumValueRequired           Code = "MAXIMUM_VALUE_REQUIRED"
	DuplicateFormComponentNames    Code = "DUPLICATE_FORM_COMPONENT_NAMES"
	DuplicateScreenIDs             Code = "DUPLICATE_SCREEN_IDS"
	ScreenIDIsReservedKeyword      Code = "SCREEN_ID_IS_RESERVED_KEYWORD"
	MissingTerminalScreen          Code = "MISSING_TERMINAL_SCREEN"
	MissingFooterOnTerminalScreen  Code = "MISSING_FOOTER_ON_TERMINAL_SCREEN"
	ComponentsOutsideForm          Code = "COMPONENTS_OUTSIDE_FORM"
	MissingFooterInIfElseBranches  Code = "MISSING_FOOTER_IN_IF_ELSE_BRANCHES"
	MissingFooterInSwitchBranches  Code = "MISSING_FOOTER_IN_SWITCH_BRANCHES"
	MoreThanOneFooter              Code = "MORE_THAN_ONE_FOOTER"
	NativeComponentInFormInitValue Code = "NATIVE_COMPONENT_IN_FORM_INIT_VALUES"

	// Known from the web client's validator only, not from the page.
	MaxComponentsPerScreen Code = "MAX_ALLOWED_COMPONENTS_PER_SCREEN"
	InvalidSensitiveField  Code = "INVALID_SENSITIVE_FIELD"

	// Ours, for warnings.
	TextTooLong    Code = "TEXT_TOO_LONG"   // the client shortens it
	VersionFrozen  Code = "VERSION_FROZEN"  // sends, but cannot be published any more
	VersionUnknown Code = "VERSION_UNKNOWN" // newer than what is known here
	DoubtfulRule   Code = "DOUBTFUL_RULE"   // sources disagree whether Meta refuses it
	DuplicateKey   Code = "DUPLICATE_KEY"   // the last one counts
)

const errorType = "FLOW_JSON_ERROR"

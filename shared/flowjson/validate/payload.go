package validate

import (
	"fmt"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

var payloadRules = []rule{
	{"payload-reference", "Meta: Flow JSON error codes, INVALID_ON_CLICK_ACTION_PAYLOAD; web client: WAFlowJSONOnClickActionPayloadValidatorV500", checkPayloadReferences},
	{"payload-expression", "Meta: Flow JSON error codes, INVALID_ACTION_PAYLOAD_PROPERTY; web client: WAFlowJSONNestedExpressionActionPayloadPropertyValidatorV702", checkPayloadExpressions},
	{"payload-files", "Meta: Flow JSON error codes, \"Native component errors\"; web client: WAFlowJSONOnClickActionPayloadValidatorV500", checkPayloadFiles},
	{"navigate-payload", "Meta: Flow JSON error codes, INVALID_NAVIGATE_ACTION_PAYLOAD; web client: WAFlowJSONNavigateActionPayloadFieldsValidatorV500 and the validator chains of 6.0 and 7.3", checkNavigatePayloads},
	{"update-data-payload", "Meta: Flow JSON, \"update_data\"; web client: WAFlowJSONUpdateDataActionPayloadFieldsValidatorV600", checkUpdateDataPayloads},
}

// payloadValue is one string of a payload.
type payloadValue struct {
	action
	node *node
	top  bool // it is the value of a key of the payload itself
}

// payloadStrings calls f for each string of a payload that holds a ${ or stands
// in backticks.
func (c *checker) payloadStrings(f func(payloadValue)) {
	c.actions(func(a action) {
		if payload := a.payload(); payload != nil {
			for i := range payload.Members {
				visitPayload(payloadValue{a, payload.Members[i].Value, true}, f)
			}
		}
	})
}

func visitPayload(v payloadValue, f func(payloadValue)) {
	switch v.node.Kind {
	case jsontree.String:
		if strings.Contains(v.node.Text, "${") || strings.HasPrefix(v.node.Text, "`") {
			f(v)
		}
	case jsontree.Object:
		for i := range v.node.Members {
			visitPayload(payloadValue{v.action, v.node.Members[i].Value, false}, f)
		}
	case jsontree.Array:
		for _, item := range v.node.Items {
			visitPayload(payloadValue{v.action, item, false}, f)
		}
	}
}

func checkPayloadReferences(c *checker) {
	c.payloadStrings(func(v payloadValue) {
		text := v.node.Text
		r, whole := parseReference(text)
		at := c.on(v.node)
		if !whole {
			switch {
			case isNested(text) && c.version.AtLeast(6, 0):
			case isNested(text):
				at.warn(DoubtfulRule, "backticks are evaluated from version 6.0, the document has version %s: the text is sent as it stands", c.version)
			default:
				at.warn(DoubtfulRule, "%s is not one reference, and is sent as it stands: write ${data.name}, ${form.name} or ${screen.ID.data.name}", text)
			}
			return
		}
		if r.screen != "" && c.version.Below(4, 0) {
			at.error(PatternMismatch, "%s names another screen, which exists from version 4.0: raise the version, or pass the value on in a payload", text)
			return
		}
		code := InvalidOnClickActionPayload
		if v.name == "update_data" {
			code = InvalidActionPayloadProperty
		}
		if found := c.resolve(r, v.owner.screen); found.problem != "" {
			at.say(!v.top, code, "%s: %s", r.text, found)
		}
	})
}

func checkPayloadExpressions(c *checker) {
	if c.version.Below(6, 0) {
		return
	}
	c.payloadStrings(func(v payloadValue) {
		if !isNested(v.node.Text) {
			return
		}
		// Before 7.2 only what goes into a data model was checked.
		doubtful := c.version.Below(7, 2) && v.name != "navigate" && v.name != "update_data"
		e, wrong := c.nested(v.node, v.owner.screen)
		if wrong != nil {
			c.within(v.node, wrong.offset, wrong.length).say(doubtful, InvalidActionPayloadProperty, "%s", wrong)
			return
		}
		c.warnQuoted(v.node, e)
	})
}

// Bounds on the files of one complete, and what a picker accepts when it does
// not say.
const (
	maxPayloadFiles    = 10
	maxPayloadFilesOld = 1 // below version 5.0
	maxPayloadKB       = 100 * 1024
	defaultFiles       = 30
	defaultFileKB      = 25 * 1024
)

func checkPayloadFiles(c *checker) {
	pickers := map[*node][]*component{} // of each complete, by its payload
	var order []action
	c.payloadStrings(func(v payloadValue) {
		r, ok := parseReference(v.node.Text)
		if !ok {
			return
		}
		found := c.resolve(r, v.owner.screen)
		switch {
		case !found.isMedia():
		case v.name == "navigate":
			c.on(v.node).error(InvalidOnClickActionPayload, "files of a %s cannot be passed on with navigate: remove this, and read them later as ${screen.%s.form.%s}", found.input.typ, v.owner.screen.id, found.input.name)
		case !v.top:
			c.on(v.node).error(InvalidOnClickActionPayload, "files of a %s must stand directly in the payload, not within an object or a list", found.input.typ)
		case v.name == "complete":
			payload := v.payload()
			if pickers[payload] == nil {
				order = append(order, v.action)
			}
			pickers[payload] = append(pickers[payload], found.input)
		}
	})
	for _, a := range order {
		c.checkFiles(a.payload(), pickers[a.payload()])
	}
}

func (c *checker) checkFiles(payload *node, pickers []*component) {
	files, kb := 0, 0
	for _, p := range pickers {
		count := defaultFiles
		for _, name := range []string{"max-uploaded-photos", "max-uploaded-documents"} {
			count = wholeNumber(p.attr(name), count)
		}
		files += count
		kb += count * wholeNumber(p.attr("max-file-size-kb"), defaultFileKB)
	}
	old := c.version.Below(5, 0)
	most := maxPayloadFiles
	if old {
		most = maxPayloadFilesOld
	}
	switch {
	case old && len(pickers) > 1:
		c.on(payload).error(InvalidOnClickActionPayload, "complete can carry the files of one picker only, this payload has %d", len(pickers))
	case files > most:
		c.on(payload).error(InvalidOnClickActionPayload, "complete can carry at most %d files, and the pickers of this payload take %d: lower their max-uploaded-photos or max-uploaded-documents (%d without it)", most, files, defaultFiles)
	case !old && kb > maxPayloadKB:
		c.on(payload).error(InvalidOnClickActionPayload, "complete can carry at most %d KB, and the pickers of this payload take %d KB: lower the number of files, or max-file-size-kb (%d without it)", maxPayloadKB, kb, defaultFileKB)
	}
}

// wholeNumber is a number of an attribute, or what holds without a static one.
func wholeNumber(n *node, otherwise int) int {
	var value int
	if !n.Is(jsontree.Number) {
		return otherwise
	}
	if _, err := fmt.Sscanf(n.Text, "%d", &value); err != nil || value < 0 || value > 1<<20 {
		return otherwise
	}
	return value
}

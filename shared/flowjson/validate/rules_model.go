package validate

import (
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

var modelRules = []rule{
	{"data-model", "Meta: Flow JSON, \"Data\"; web client: WAFlowJSONScreenSchema", checkDataModel},
	{"data-type", "Meta: Flow JSON error codes, INVALID_SCREEN_DATA; web client: WAFlowJSONScreenDataValidator", checkDataType},
	{"data-items", "Meta: Flow JSON error codes, INVALID_SCREEN_DATA", checkDataItems},
	{"data-properties", "Meta: Flow JSON, \"Data\"; JSON Schema draft 7, \"properties\"", checkDataProperties},
	{"data-example", "Meta: Flow JSON, \"Data\"; web client: WAFlowJSONScreenSchema", checkDataExample},
	{"data-example-type", "Meta: Flow JSON error codes, INVALID_SCREEN_DATA; web client: WAFlowJSONScreenDataValidator", checkDataExampleType},
	{"data-example-nested", "Meta: Flow JSON error codes, INVALID_SCREEN_DATA", checkDataExampleNested},
}

const exampleKey = "__example__"

// eachField calls f with every field of every data model that is an object.
func (c *checker) eachField(f func(field *node)) {
	for _, s := range c.screens {
		if s.data == nil {
			continue
		}
		for _, m := range s.data.Members {
			if m.Value.Kind == jsontree.Object {
				f(m.Value)
			}
		}
	}
}

// eachSchema calls f with a field and every schema within it: of items and of
// properties, at whatever depth.
func eachSchema(field *node, f func(schema *node)) {
	f(field)
	if items := field.Get("items"); items.Is(jsontree.Object) {
		eachSchema(items, f)
	}
	if properties := field.Get("properties"); properties.Is(jsontree.Object) {
		for _, m := range properties.Members {
			if m.Value.Kind == jsontree.Object && m.Name != exampleKey {
				eachSchema(m.Value, f)
			}
		}
	}
}

func checkDataModel(c *checker) {
	for _, s := range c.screens {
		data := s.node.Get("data")
		switch {
		case data == nil:
			continue
		case data.Kind != jsontree.Object:
			c.on(data).error(InvalidPropertyType, "data is %s, expected an object with a field for each value the screen needs", data.Kind)
			continue
		}
		for _, m := range data.Members {
			isRequired := m.Name == "required" && m.Value.Kind == jsontree.Array // JSON Schema's own word
			if m.Value.Kind != jsontree.Object && !isRequired {
				c.on(m.Value).error(InvalidPropertyType, "the field %q is %s, expected an object with type and %s", m.Name, m.Value.Kind, exampleKey)
			}
		}
	}
}

var dataTypes = []string{"string", "number", "boolean", "object", "array"}

func checkDataType(c *checker) {
	c.eachField(func(field *node) {
		eachSchema(field, func(schema *node) {
			switch typ := schema.Get("type"); {
			case typ == nil && (schema == field || schema.Name == "items" && schema.Parent.Get("type").Is(jsontree.String)):
				c.onStart(schema).error(InvalidScreenData, "type is missing, expected string, number, boolean, object or array")
			case typ == nil:
				c.onStart(schema).warn(DoubtfulRule, "type is missing: Meta's page requires it, its web client not of a property within an object")
			case typ.Kind != jsontree.String:
				c.on(typ).error(InvalidScreenData, "type is %s, expected the string string, number, boolean, object or array", typ.Kind)
			case typ.Text == "integer" || typ.Text == "null":
				c.on(typ).warn(DoubtfulRule, "type %s is not in Meta's list, though its web client takes it: use string, number, boolean, object or array", typ.Text)
			case !slices.Contains(dataTypes, typ.Text):
				c.on(typ).error(InvalidScreenData, "type is %q, expected string, number, boolean, object or array%s", typ.Text, withSuggestion(typ.Text, dataTypes))
			}
		})
	})
}

func checkDataItems(c *checker) {
	c.eachField(func(field *node) {
		eachSchema(field, func(schema *node) {
			typ, items := schema.Get("type"), schema.Get("items")
			isArray := typ.Is(jsontree.String) && typ.Text == "array"
			switch {
			case isArray && (items == nil || items.Kind == jsontree.Null):
				c.onStart(schema).error(InvalidScreenData, "an array needs items, the schema of what is in it, such as {\"type\": \"string\"}")
			case items != nil && items.Kind != jsontree.Object && items.Kind != jsontree.Boolean && items.Kind != jsontree.Null:
				c.on(items).error(InvalidScreenData, "items is %s, expected a schema such as {\"type\": \"string\"}, or true", items.Kind)
			}
		})
	})
}

func checkDataProperties(c *checker) {
	c.eachField(func(field *node) {
		eachSchema(field, func(schema *node) {
			properties := schema.Get("properties")
			switch {
			case properties == nil:
				return
			case properties.Kind != jsontree.Object:
				c.on(properties).error(InvalidScreenData, "properties is %s, expected an object with a schema for each property", properties.Kind)
				return
			}
			for _, m := range properties.Members {
				if m.Value.Kind != jsontree.Object && m.Value.Kind != jsontree.Boolean && m.Name != exampleKey {
					c.on(m.Value).error(InvalidScreenData, "the property %q is %s, expected a schema such as {\"type\": \"string\"}", m.Name, m.Value.Kind)
				}
			}
		})
	})
}

func checkDataExample(c *checker) {
	c.eachField(func(field *node) {
		if field.Get(exampleKey) == nil && field.Name != "required" {
			c.onStart(field).error(MissingRequiredProperty, "%s is missing, expected a value that the preview shows for %q", exampleKey, field.Name)
		}
	})
}

func checkDataExampleType(c *checker) {
	m := matcher{c, map[*node]map[string]*node{}}
	c.eachField(func(field *node) {
		if example := field.Get(exampleKey); example != nil {
			m.match(example, field)
		}
	})
}

// matcher compares examples with their schemas. It keeps what it has read of
// properties, as an array may hold thousands of objects of one schema.
type matcher struct {
	c          *checker
	properties map[*node]map[string]*node
}

// match says where an example differs from its schema. A schema that is itself
// wrong, or says nothing, fits everything.
func (m *matcher) match(example, schema *node) {
	typ := schema.Get("type")
	if !typ.Is(jsontree.String) {
		return
	}
	if fits := exampleFits(example, typ.Text); !fits {
		m.c.on(example, typ).error(InvalidScreenData, "this example is %s, the data model says %s: write an example of that type", example.Kind, typ.Text)
		return
	}
	if items := schema.Get("items"); example.Kind == jsontree.Array && items.Is(jsontree.Object) {
		for _, item := range example.Items {
			m.match(item, items)
		}
	}
	if example.Kind != jsontree.Object {
		return
	}
	properties := schema.Get("properties")
	if !properties.Is(jsontree.Object) {
		return
	}
	schemas := m.properties[properties]
	if schemas == nil {
		schemas = make(map[string]*node, len(properties.Members))
		for _, p := range properties.Members {
			schemas[p.Name] = p.Value
		}
		m.properties[properties] = schemas
	}
	for _, value := range example.Members {
		if s := schemas[value.Name]; s.Is(jsontree.Object) {
			m.match(value.Value, s)
		}
	}
}

func exampleFits(example *node, typ string) bool {
	switch typ {
	case "string", "number", "boolean", "object", "array", "null":
		return example.Kind.String() == typ
	case "integer":
		return example.Kind == jsontree.Number
	}
	return true
}

func checkDataExampleNested(c *checker) {
	c.eachField(func(field *node) {
		for _, m := range field.Members {
			if m.Name != exampleKey {
				c.findExamples(m.Value)
			}
		}
	})
}

func (c *checker) findExamples(n *node) {
	for i := range n.Members {
		m := &n.Members[i]
		if m.Name == exampleKey {
			c.onKey(m).error(InvalidScreenData, "%s stands only directly under a field of data: remove it here", exampleKey)
			continue
		}
		c.findExamples(m.Value)
	}
	for _, item := range n.Items {
		c.findExamples(item)
	}
}

package validate

import (
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
)

var documentRules = []rule{
	{"top-level-keys", "Meta: Flow JSON, \"Top-level properties\"; web client: WAFlowJSONRootSchema", checkTopLevelKeys},
	{"duplicate-keys", "RFC 8259, section 4: names within an object should be unique", checkDuplicateKeys},
	{"version", "Meta: Versioning (15 March 2026), Flow JSON error codes, \"Flow JSON version errors\"", checkVersion},
	{"data-api-version", "Meta: Flow JSON, \"data_api_version\"; web client: WAFlowJSONRootSchema (4.0 only from version 7.3)", checkDataAPIVersion},
	{"data-api-version-needed", "Meta: Flow JSON error codes, MISSING_REQUIRED_PROPERTY", checkDataAPIVersionNeeded},
	{"data-channel-uri", "Meta: Changelog, version 3.0; Flow JSON error codes, INVALID_PROPERTY_KEY", checkDataChannelURI},
	{"screens", "Meta: Flow JSON, \"screens\"; error codes, MIN_ITEMS_REQUIRED and MAX_SCREENS_NUMBER", checkScreens},
}

var topLevelKeys = []string{"version", "screens", "data_api_version", "routing_model", "data_channel_uri", "meta"}

func checkTopLevelKeys(c *checker) {
	for i := range c.root.Members {
		m := &c.root.Members[i]
		switch {
		case !slices.Contains(topLevelKeys, m.Name):
			c.onKey(m).error(InvalidPropertyKey, "the document has no property %q%s", m.Name, withSuggestion(m.Name, topLevelKeys[:5]))
		case m.Name == "meta":
			c.onKey(m).warn(DoubtfulRule, "meta stands in no page of Meta, though its web client accepts it from version 5.1: leave it out")
		}
	}
}

// checkDuplicateKeys looks at every object of the document.
func checkDuplicateKeys(c *checker) {
	open := []*node{c.root}
	for len(open) > 0 {
		n := open[len(open)-1]
		open = append(open[:len(open)-1], n.Items...)
		seen := map[string]bool{}
		if len(n.Members) < 2 {
			seen = nil // cannot have two of one name
		}
		for i := range n.Members {
			m := &n.Members[i]
			open = append(open, m.Value)
			if seen == nil {
				continue
			}
			if seen[m.Name] {
				c.onKey(m).warn(DuplicateKey, "%q is already there: the last one counts, so remove the others", m.Name)
			}
			seen[m.Name] = true
		}
	}
}

func checkVersion(c *checker) {
	n := c.root.Get("version")
	switch {
	case n == nil:
		c.onStart(c.root).error(MissingFlowJSONVersion, "version is missing, expected one of %s: add \"version\": %q", publishable(), newest)
		return
	case n.Kind == jsontree.Number:
		c.on(n).error(UnsupportedFlowJSONVersion, "version is the number %s, as no version since 2.1 is: write it as a string, \"version\": %q", n.Text, newest)
		return
	case n.Kind != jsontree.String:
		c.on(n).error(InvalidFlowJSONVersion, "version is %s, expected a string such as %q", n.Kind, newest)
		return
	}
	v, err := parseVersion(n.Text)
	r := findRelease(v)
	switch {
	case err != nil && isPreview(n.Text):
		c.on(n).error(UnavailableFlowJSONVersion, "version %q is none that is open to everybody, expected one of %s", n.Text, publishable())
	case err != nil:
		c.on(n).error(InvalidFlowJSONVersion, "version is %q, expected two numbers with a dot between them, such as %q", n.Text, newest)
	case r != nil && r.frozen != "":
		c.on(n).warn(VersionFrozen, "version %s is frozen since %s: flows of it still open, but cannot be published any more; publishable are %s", v, r.frozen, publishable())
	case r != nil:
	case v.Below(2, 1):
		c.on(n).error(UnsupportedFlowJSONVersion, "version %s is not supported any more, expected one of %s", v, publishable())
	case v.AtLeast(newest.Major, newest.Minor) && v.Major <= newest.Major+1:
		c.on(n).warn(VersionUnknown, "version %s is newer than %s, the newest known here: the document is judged by the rules of %s", v, newest, newest)
	default:
		c.on(n).error(InvalidFlowJSONVersion, "there is no version %s, expected one of %s", v, publishable())
	}
}

// isPreview says that letters stand for a version, as Meta's page writes one that
// is enabled for some accounts only: A.B.
func isPreview(version string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	major, minor, _ := strings.Cut(version, ".")
	return major != "" && minor != "" && strings.Trim(major+minor, letters) == ""
}

// publishable lists the versions that can be published.
func publishable() string {
	list := ""
	for _, r := range releases {
		if r.frozen == "" {
			if list != "" {
				list += ", "
			}
			list += r.String()
		}
	}
	return list
}

func checkDataAPIVersion(c *checker) {
	n := c.root.Get("data_api_version")
	switch {
	case n == nil:
	case n.Kind != jsontree.String:
		c.on(n).error(InvalidPropertyType, "data_api_version is %s, expected the string \"3.0\" or \"4.0\"", n.Kind)
	case n.Text == "4.0" && c.version.Below(7, 3):
		c.on(n).warn(DoubtfulRule, "Meta's web client accepts data_api_version 4.0 only from version 7.3, its pages do not say so: use 3.0, or version 7.3")
	case n.Text != "3.0" && n.Text != "4.0":
		c.on(n).error(NoSupportedDataAPIVersion, "data_api_version is %q, expected \"3.0\" or \"4.0\"", n.Text)
	}
}

// checkDataAPIVersionNeeded: what talks to the endpoint needs one, and an
// endpoint needs a routing model. That of refresh_on_back has its own rule.
func checkDataAPIVersionNeeded(c *checker) {
	if c.endpoint {
		if c.root.Get("routing_model") == nil {
			c.on(c.root.Member("data_api_version").Value).error(MissingRequiredProperty,
				"routing_model is missing, as a flow with data_api_version needs it: add \"routing_model\" with the screens each screen leads to")
		}
		return
	}
	c.actions(func(a action) {
		if a.name == "data_exchange" {
			c.on(a.node.Get("name")).error(MissingRequiredProperty, "data_exchange asks the endpoint, but the flow has no data_api_version: add \"data_api_version\": \"3.0\" and a routing_model")
		}
	})
}

func checkDataChannelURI(c *checker) {
	m := c.root.Member("data_channel_uri")
	switch {
	case m == nil:
	case c.version.AtLeast(3, 0):
		c.onKey(m).error(InvalidPropertyKey, "data_channel_uri is not part of the document since version 3.0: remove it and set endpoint_uri of the flow through the Flows API")
	case m.Value.Kind != jsontree.String:
		c.on(m.Value).error(InvalidPropertyType, "data_channel_uri is %s, expected a string", m.Value.Kind)
	default:
		if u, err := url.Parse(m.Value.Text); err != nil || u.Scheme == "" || u.Host == "" {
			c.on(m.Value).error(InvalidPropertyValueFormat, "data_channel_uri is %q, expected a URI such as https://example.com/endpoint", m.Value.Text)
		}
	}
}

// maxScreens is the most screens a flow may have.
const maxScreens = 100

func checkScreens(c *checker) {
	n := c.root.Get("screens")
	switch {
	case n == nil:
		c.onStart(c.root).error(MissingRequiredProperty, "screens is missing, expected an array of 1 to %d screens", maxScreens)
		return
	case n.Kind != jsontree.Array:
		c.on(n).error(InvalidPropertyType, "screens is %s, expected an array of screens", n.Kind)
		return
	case len(n.Items) == 0:
		c.on(n).error(MinItemsRequired, "screens is empty, expected at least one screen")
	case len(n.Items) > maxScreens:
		c.on(n.Items[maxScreens]).error(MaxScreensNumber, "the flow has %d screens, expected at most %d", len(n.Items), maxScreens)
	}
	for _, item := range n.Items {
		if item.Kind != jsontree.Object {
			c.on(item).error(InvalidPropertyType, "this screen is %s, expected an object", item.Kind)
		}
	}
}

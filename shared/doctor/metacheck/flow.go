package metacheck

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/doctor"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// publishing is what publishing a flow needs.
type publishing struct {
	number             bool // verified, with a signed key
	subscribed, fields doctor.Status

	version, content doctor.Status
	asks             bool // an endpoint
	endpoint, app    doctor.Status
}

// flows looks at every flow that is not deprecated.
func (c Config) flows(ctx context.Context, info graph.TokenInfo, a Account, waba string, p publishing) (found []doctor.Finding) {
	name := "meta: account " + waba + ": flows"
	all, err := c.Client.Flows(ctx, waba)
	if err != nil {
		return []doctor.Finding{unasked(name, err)}
	}
	for _, listed := range all {
		if listed.Status == graph.Deprecated {
			continue
		}
		f, err := c.Client.Flow(ctx, listed.ID)
		if err != nil {
			found = append(found, unasked("meta: flow "+listed.Name, err))
			continue
		}
		found = append(found, c.flow(ctx, info, a, f, c.ours(a, f), p)...)
	}
	if len(found) == 0 {
		found = append(found, doctor.Skip(name, "none but deprecated ones"))
	}
	return found
}

// ours is the flow of ours that one at Meta is: the one its endpoint URI names,
// else the one of its name.
func (c Config) ours(a Account, f *graph.Flow) string {
	if u, err := url.Parse(f.EndpointURI); err == nil && f.EndpointURI != "" {
		for _, name := range []string{u.Query().Get("flow"), path.Base(u.Path)} {
			if a.Flows[name] != nil {
				return name
			}
		}
	}
	if a.Flows[f.Name] != nil {
		return f.Name
	}
	return ""
}

func (c Config) flow(ctx context.Context, info graph.TokenInfo, a Account, f *graph.Flow, ours string, p publishing) []doctor.Finding {
	label := "meta: flow " + f.Name
	version := flowVersion(label+": version", f)
	content := flowErrors(label+": validation", f)
	found := []doctor.Finding{flowStatus(label+": status", f), judgeHealth(label+": health", f.Health), version, content, c.same(ctx, label+": Flow JSON", a, f, ours)}
	p.version, p.content = version.Status, content.Status
	if f.DataAPIVersion == "" {
		found = append(found, doctor.Skip(label+": endpoint", "it asks no endpoint"))
	} else {
		endpoint, app := endpointOf(label+": endpoint", a, f, ours), linked(label+": application", info, f)
		found = append(found, endpoint, app)
		p.asks, p.endpoint, p.app = true, endpoint.Status, app.Status
	}
	if f.Status == graph.Draft {
		found = append(found, publishable(label+": publishing", a, f, p))
	}
	return found
}

func flowStatus(name string, f *graph.Flow) doctor.Finding {
	switch f.Status {
	case graph.Throttled:
		return doctor.Failed(name, f.Status, "only 10 messages an hour can be sent with it: its endpoint is slow or fails", "mend what the other findings show; Meta lifts it by itself")
	case graph.Blocked:
		return doctor.Failed(name, f.Status, "it can be neither sent nor opened: its endpoint fails", "mend what the other findings show; Meta lifts it by itself")
	}
	return doctor.Fine(name, "%s", f.Status)
}

func flowVersion(name string, f *graph.Flow) doctor.Finding {
	since, known := validate.Frozen(f.JSONVersion)
	switch {
	case f.JSONVersion == "":
		return doctor.Skip(name, "it has no Flow JSON yet")
	case !known:
		return doctor.Fine(name, "Flow JSON %s, newer than what is known here (%s)", f.JSONVersion, validate.Newest())
	case since != "":
		return doctor.Warned(name, fmt.Sprintf("Flow JSON %s, frozen since %s", f.JSONVersion, since), "it cannot be published any more; messages with it still open until it expires", fmt.Sprintf("move it to %s", validate.Newest()))
	}
	return doctor.Fine(name, "Flow JSON %s, data API %s", f.JSONVersion, orNone(f.DataAPIVersion))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func flowErrors(name string, f *graph.Flow) doctor.Finding {
	if len(f.ValidationErrors) == 0 {
		return doctor.Fine(name, "Meta finds no error in it")
	}
	first := f.ValidationErrors[0]
	evidence := fmt.Sprintf("%d errors, the first: %s: %s", len(f.ValidationErrors), first.Error, first.Message)
	return doctor.Failed(name, evidence, "it cannot be published", "mend them: `worker flows validate` finds the same with lines")
}

// same compares what Meta has with what the edge serves, as JSON.
func (c Config) same(ctx context.Context, name string, a Account, f *graph.Flow, ours string) doctor.Finding {
	switch {
	case a.Flows == nil:
		return doctor.Skip(name, "what the edge serves is not known here")
	case ours == "" && f.DataAPIVersion == "":
		return doctor.Skip(name, "the edge serves no flow of this name; it asks no endpoint either")
	case ours == "":
		return doctor.Failed(name, "the edge serves no such flow", "its endpoint answers 404", "publish it here with `worker flows load`, under the name that its endpoint URI ends with")
	}
	theirs, err := c.Client.DownloadJSON(ctx, f.ID)
	if err != nil {
		return unasked(name, err)
	}
	if !equalJSON(theirs, a.Flows[ours]) {
		return doctor.Failed(name, "Meta's is another than that of the flow "+ours+" here", "screens and data that phones have do not fit what the edge answers: users see errors", "compare them with `worker meta flows diff`, then push or pull")
	}
	return doctor.Fine(name, "the same as that of the flow %s here", ours)
}

// equalJSON compares values: spaces and the order of members do not count.
func equalJSON(a, b []byte) bool {
	x, errX := canonical(a)
	y, errY := canonical(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func canonical(text []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return json.Marshal(value) // members of a map are sorted
}

func endpointOf(name string, a Account, f *graph.Flow, ours string) doctor.Finding {
	const fix = "set it: `worker meta flows push`, or POST endpoint_uri to the flow"
	if f.EndpointURI == "" {
		return doctor.Failed(name, "none is set", "the flow cannot be published, and opens for nobody", fix)
	}
	u, err := url.Parse(f.EndpointURI)
	switch {
	case err != nil || u.Scheme != "https":
		return doctor.Failed(name, f.EndpointURI+" is no https URL", "no request arrives", fix)
	case a.Site == "":
		return doctor.Skip(name, f.EndpointURI+"; where the edge is reached is not known here: give --url")
	}
	if site := u.Scheme + "://" + u.Host; !strings.EqualFold(site, a.Site) {
		return doctor.Failed(name, f.EndpointURI+" leads to another site than "+a.Site, "requests of this flow do not come here", fix)
	}
	if a.EndpointPath != nil && ours != "" {
		if want := a.EndpointPath(ours); u.Path != want && u.Query().Get("flow") != ours {
			return doctor.Warned(name, f.EndpointURI+" has another path than "+want, "the edge may answer 404, or for another flow", fix)
		}
	}
	return doctor.Fine(name, "%s", f.EndpointURI)
}

func linked(name string, info graph.TokenInfo, f *graph.Flow) doctor.Finding {
	const fix = "link it: `worker meta flows push`, or POST application_id to the flow"
	switch {
	case f.Application == nil:
		return doctor.Failed(name, "no app is linked", "Meta does not know with whose secret to sign: the flow cannot be published", fix)
	case f.Application.ID != info.AppID:
		return doctor.Warned(name, fmt.Sprintf("%s, the token is of the app %s", named(f.Application.Name, f.Application.ID), info.AppID), "requests are signed with the secret of the linked app: unless app_secret lists it, they get 432", fix)
	}
	return doctor.Fine(name, "%s", named(f.Application.Name, f.Application.ID))
}

// publishable goes through what Meta checks before it publishes a flow. One that
// asks no endpoint needs none, nor a key.
func publishable(name string, a Account, f *graph.Flow, p publishing) doctor.Finding {
	var missing, unknown []string
	for _, need := range []struct {
		what      string
		there     bool
		ofAsking  bool   // only of flows that ask an endpoint
		uncertain string // what is not known, if it is not
		known     bool
	}{
		{what: "a Flow JSON without errors", there: f.JSONVersion != "" && p.content == doctor.OK, known: true},
		{what: "a version that is not frozen", there: p.version != doctor.Warn, known: true},
		{what: "a verified phone number with a signed public key of the edge", there: p.number, ofAsking: true,
			uncertain: "whether the number's key is one of the edge", known: len(a.Fingerprints) > 0},
		{what: "an endpoint URI that leads here", there: p.endpoint != doctor.Fail, ofAsking: true,
			uncertain: "whether its endpoint leads here", known: a.Site != ""},
		{what: "a linked app", there: p.app != doctor.Fail, ofAsking: true, known: true},
		{what: "an endpoint that answers the health check", there: a.PingAnswered == nil || *a.PingAnswered, ofAsking: true,
			uncertain: "whether the endpoint answers the health check", known: a.PingAnswered != nil},
		{what: "webhooks of the account, flows among their fields", there: p.subscribed != doctor.Fail && p.fields != doctor.Fail, ofAsking: true,
			uncertain: "whether flows is among the fields of webhooks", known: p.fields != doctor.Skipped},
	} {
		switch {
		case need.ofAsking && !p.asks:
		case !need.there:
			missing = append(missing, need.what)
		case !need.known:
			unknown = append(unknown, need.uncertain)
		}
	}
	switch {
	case len(missing) > 0:
		return doctor.Failed(name, "missing: "+strings.Join(missing, "; "), "Meta would refuse to publish it (139002)", "mend what the findings above say")
	case len(unknown) > 0:
		return doctor.Skip(name, "nothing is missing as far as can be seen; not known here: "+strings.Join(unknown, "; "))
	}
	return doctor.Fine(name, "all that Meta checks is there")
}

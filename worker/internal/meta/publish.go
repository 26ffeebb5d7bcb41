package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// Check is one of what Meta asks of a flow before it publishes it.
type Check struct {
	Name string `json:"check"`
	OK   bool   `json:"ok"`
	Says string `json:"says"`          // what was found
	Fix  string `json:"fix,omitempty"` // what to do, of one that is not OK
}

// Publication is what became of a flow that was to be published.
type Publication struct {
	Result
	Checks []Check `json:"checks,omitempty"` // of a dry run, and when Meta refuses
	Status string  `json:"status"`
}

// Publish publishes what was pushed.
func (s *Site) Publish(ctx context.Context, l Local) (Publication, error) {
	p := Publication{Result: Result{Flow: l.Name, Done: []string{}}}
	entry := s.Lock.Flows[l.Name]
	if entry == nil {
		return p, errors.New("the lock file does not know the flow: push it first")
	}
	p.ID = entry.ID
	at, err := s.read(ctx, l.Name, entry.ID)
	if err != nil {
		return p, err
	}
	p.Status = at.Status
	hash := Hash(l.JSON)
	switch {
	case at.hash != hash:
		return p, fmt.Errorf("what Meta has (%s) is not what is here (%s): push first, or pull", short(at.hash), short(hash))
	case at.Live():
		p.note("it is published already")
		entry.JSON, entry.Published = hash, hash
		return p, s.save()
	case at.Status != graph.Draft:
		return p, fmt.Errorf("the flow is %s, expected a draft", at.Status)
	}
	if s.DryRun {
		p.do("publish %s", short(hash))
		p.Checks, err = s.Checks(ctx, l, at.Flow)
		return p, err
	}
	if err := s.Graph.PublishFlow(ctx, entry.ID); err != nil {
		if graph.HasCode(err, graph.CodeFlowCannotPublish) {
			p.Checks, _ = s.Checks(ctx, l, at.Flow) // Meta's refusal is what must be told
		}
		return p, err
	}
	p.do("publish %s", short(hash))
	p.Status, entry.JSON, entry.Published = graph.Published, hash, hash
	return p, s.save()
}

// Checks are Meta's checks before publishing, as far as they can be made from
// here: whether the endpoint answers, Meta tries itself.
func (s *Site) Checks(ctx context.Context, l Local, f *graph.Flow) ([]Check, error) {
	numbers, err := s.Graph.Numbers(ctx, s.Account)
	if err != nil {
		return nil, err
	}
	frozen := slices.ContainsFunc(validate.Flow(l.JSON).Warnings, func(w validate.Problem) bool { return w.Error == validate.VersionFrozen })
	verified := slices.ContainsFunc(numbers, func(n graph.Number) bool { return n.Verification == "VERIFIED" })
	head := ReadHead(l.JSON)
	checks := []Check{
		check("Flow JSON without errors", len(f.ValidationErrors) == 0, fmt.Sprintf("%d errors", len(f.ValidationErrors)), "push shows them on your lines: mend them"),
		check("version not frozen", !frozen, "version "+head.Version, "raise version: flows validate says to what"),
		check("verified phone number", verified, fmt.Sprintf("%d numbers", len(numbers)), "verify a number in WhatsApp Manager"),
	}
	if !head.AsksEndpoint() {
		return checks, nil
	}
	signed, says, err := s.signedKey(ctx, numbers)
	if err != nil {
		return checks, err
	}
	apps, err := s.Graph.SubscribedApps(ctx, s.Account)
	if err != nil {
		return checks, err
	}
	linked := "none"
	if f.Application != nil {
		linked = f.Application.ID
	}
	return append(checks,
		check("public key with a valid signature", signed, says, "register the key of the edge for the number"),
		check("endpoint URI", f.EndpointURI != "" || !head.hasEndpointURI(), orNone(f.EndpointURI), "push with --endpoint"),
		check("linked app", f.Application != nil, linked, "set META_APP_ID and push"),
		check("account subscribed to webhooks", len(apps) > 0, fmt.Sprintf("%d apps", len(apps)), "worker meta subscribe"),
	), nil
}

// signedKey looks for a number with a public key whose signature is valid. A
// number of which Meta tells nothing, such as one that is not registered, is not
// the one.
func (s *Site) signedKey(ctx context.Context, numbers []graph.Number) (found bool, says string, err error) {
	says = "no number has one"
	for _, n := range numbers {
		key, err := s.Graph.GetPublicKey(ctx, n.ID)
		var refused *graph.Error
		switch {
		case errors.As(err, &refused):
			says = fmt.Sprintf("no number has one, as far as Meta tells (%v)", err)
		case err != nil:
			return false, "", err
		case key.Signature == graph.SignatureValid:
			return true, "VALID on " + n.ID, nil
		}
	}
	return false, says, nil
}

func check(name string, ok bool, says, fix string) Check {
	if ok {
		fix = ""
	}
	return Check{Name: name, OK: ok, Says: says, Fix: fix}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Deprecate ends a flow for good; with former, those that it took the place of.
func (s *Site) Deprecate(ctx context.Context, name string, former bool) (Result, error) {
	r := Result{Flow: name, Done: []string{}}
	entry := s.Lock.Flows[name]
	if entry == nil {
		return r, errors.New("the lock file does not know the flow: pull it first")
	}
	r.ID = entry.ID
	ids := []string{entry.ID}
	if former {
		if ids = entry.Former; len(ids) == 0 {
			r.note("it took the place of no other flow")
		}
	}
	for _, id := range ids {
		f, err := s.Graph.Flow(ctx, id)
		if former && graph.NotFound(err) {
			r.note("%s is not at Meta any more", id)
			continue
		}
		if err != nil {
			return r, err
		}
		switch {
		case f.Status == graph.Deprecated:
			r.note("%s is deprecated already", id)
			continue
		case f.Status == graph.Draft && former:
			r.note("%s is a draft, which cannot be deprecated: delete it in WhatsApp Manager if nobody needs it", id)
			continue
		case f.Status == graph.Draft:
			return r, fmt.Errorf("%s is a draft, which cannot be deprecated: delete it in WhatsApp Manager if nobody needs it", id)
		}
		if !s.DryRun {
			if err := s.Graph.DeprecateFlow(ctx, id); err != nil {
				return r, err
			}
		}
		r.do("deprecate %s (%s)", id, f.Name)
	}
	return r, nil
}

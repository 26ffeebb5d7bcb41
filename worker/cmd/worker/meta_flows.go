package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/validate"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/meta"
)

type metaFlows struct {
	Pull      metaPull      `cmd:"" help:"Write Meta's flows into the folder."`
	Diff      metaDiff      `cmd:"" help:"Show how the folder and Meta differ."`
	Push      metaPush      `cmd:"" help:"Bring the folder's flows to Meta, as drafts: Flow JSON, endpoint and app."`
	Publish   metaPublish   `cmd:"" help:"Publish what was pushed."`
	Deprecate metaDeprecate `cmd:"" help:"End flows for good."`
}

// metaFolder is a folder of flows, and which of them are meant.
type metaFolder struct {
	metaFlags
	Dir   string   `arg:"" type:"existingdir" help:"Directory with one folder for each flow (NAME/flow.json), or files NAME.json."`
	Names []string `arg:"" optional:"" name:"flow" help:"Flows by name; default all."`
	Env   string   `default:"production" help:"Environment: its lock file, meta.ENV.lock in the directory, says which flow is which at Meta. Commit it."`
}

// withSite opens the lock file and reads the flows that are meant.
func (f metaFolder) withSite(p *process, dryRun bool, do func(*metaSession, *meta.Site, []meta.Local) error) error {
	all, err := localFlows(f.Dir)
	if err != nil {
		return err
	}
	return f.withMeta(p, func(s *metaSession) error {
		if !dryRun {
			release, err := meta.Alone(f.Dir)
			if err != nil {
				return err
			}
			defer release()
		}
		lock, err := meta.OpenLock(f.Dir, f.Env, s.account)
		if err != nil {
			return err
		}
		return do(s, &meta.Site{Graph: s.graph, Account: s.account, Lock: lock, DryRun: dryRun}, all)
	})
}

// localFlows reads the flows of a folder, by name.
func localFlows(dir string) ([]meta.Local, error) {
	if exists(filepath.Join(dir, "flow.json")) {
		return nil, errors.New("this folder holds flow.json itself, expected a folder of flows: give its parent, and the flow's name behind it")
	}
	documents, err := findDocuments(dir)
	if err != nil {
		return nil, err
	}
	var all []meta.Local
	for _, d := range documents {
		text, err := d.read(nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %s", d.file, reason(err))
		}
		if !d.certain && !looksLikeFlow(text) {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(d.file), ".json")
		if filepath.Base(d.file) == "flow.json" {
			name = filepath.Base(filepath.Dir(d.file))
		}
		if !plainName.MatchString(name) {
			return nil, fmt.Errorf("the flow %q has a name that fits no endpoint's path, expected letters, digits, dots, dashes and underscores", name)
		}
		if i := slices.IndexFunc(all, func(l meta.Local) bool { return l.Name == name }); i >= 0 {
			return nil, fmt.Errorf("%s: the flow %s is already defined by %s: keep one of them", d.file, name, all[i].File)
		}
		all = append(all, meta.Local{Name: name, File: d.file, JSON: text})
	}
	return all, nil
}

// failedFlows counts and tells what failed, in the order of flows.
func failedFlows(p *process, json bool, what string, names []string, errs []error) error {
	failed := 0
	var only error
	for i, err := range errs {
		if err == nil {
			continue
		}
		failed++
		only = fmt.Errorf("%s: %w", names[i], err)
		if !json && len(names) > 1 {
			fmt.Fprintf(p.stdout, "%s: %s\n", plain(names[i]), oneLine(err)) //nolint:errcheck // output only
		}
	}
	switch {
	case failed == 0:
		return nil
	case len(names) == 1:
		return only
	}
	return fmt.Errorf("%d of %d flows were not %s", failed, len(names), what)
}

type metaPush struct {
	metaFolder
	Endpoint  string   `placeholder:"URL" help:"Where Meta sends the requests of flows that ask for one: https://flows.example.com/flows/endpoint/{flow}. The lock file remembers it."`
	Category  []string `placeholder:"SURVEY" help:"Categories of flows that are created, separated by commas. Default OTHER."`
	Adopt     bool     `help:"Put flows in the place of those of the same name at Meta that the lock file does not know."`
	Overwrite bool     `help:"Also over what was changed at Meta since the last push."`
	Force     bool     `help:"Also flows that our validator refuses, and over a published flow a version that is frozen."`
	DryRun    bool     `help:"Only say what would be done."`
}

// Run pushes flows.
func (c metaPush) Run(p *process) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.withSite(p, c.DryRun, func(s *metaSession, site *meta.Site, all []meta.Local) error {
		flows, err := meta.Pick(all, c.Names)
		if err != nil {
			return err
		}
		if len(flows) == 0 {
			return fmt.Errorf("%s holds no flow, expected folders with a flow.json, or .json files", c.Dir)
		}
		if err := c.validate(p, flows); err != nil {
			return err
		}
		if c.Endpoint != "" {
			site.Lock.Endpoint = c.Endpoint
		}
		if err := onePlaceEach(site.Lock.Endpoint, flows); err != nil {
			return err
		}
		options := meta.PushOptions{Categories: c.Category, Adopt: c.Adopt, Overwrite: c.Overwrite, Force: c.Force}
		if options.App, err = s.app(); err != nil {
			return err
		}
		return c.push(p, s, site, flows, options)
	})
}

func (c metaPush) check() error {
	for _, category := range c.Category {
		if !slices.Contains(graph.Categories, category) {
			return fmt.Errorf("--category is %q, expected some of %s", category, strings.Join(graph.Categories, ", "))
		}
	}
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(strings.ReplaceAll(c.Endpoint, "{flow}", "flow"))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("--endpoint is %q, expected a URL such as https://flows.example.com/flows/endpoint/{flow}", c.Endpoint)
	}
	return nil
}

// onePlaceEach refuses one endpoint for several flows: requests do not say of
// which flow they are, so that the edge would answer all as one.
func onePlaceEach(endpoint string, flows []meta.Local) error {
	if endpoint == "" || strings.Contains(endpoint, "{flow}") {
		return nil
	}
	var asking []string
	for _, l := range flows {
		if meta.ReadHead(l.JSON).AsksEndpoint() {
			asking = append(asking, l.Name)
		}
	}
	if len(asking) < 2 {
		return nil
	}
	return fmt.Errorf("the endpoint %s is the same for %s, of which its requests do not tell: put {flow} where the name belongs, or push each with an --endpoint of its own", endpoint, strings.Join(asking, ", "))
}

// validate refuses what Meta would, before anything is sent.
func (c metaPush) validate(p *process, flows []meta.Local) error {
	refused := 0
	for _, l := range flows {
		report := validate.Flow(l.JSON)
		if report.Valid() {
			continue
		}
		refused++
		to := p.stdout
		if c.JSON {
			to = p.stderr
		}
		if err := printHuman(to, []*result{{file: l.File, text: l.JSON, errors: report.Errors, truncated: report.Truncated}}); err != nil {
			return err
		}
	}
	if refused > 0 && !c.Force {
		return fmt.Errorf("nothing was pushed: Meta would refuse %d of %d flows: mend them, or push them with --force", refused, len(flows))
	}
	return nil
}

func (c metaPush) push(p *process, s *metaSession, site *meta.Site, flows []meta.Local, o meta.PushOptions) error {
	outcomes := []meta.Pushed{}
	names, errs, refused := []string{}, []error{}, 0
	for _, l := range flows {
		pushed, err := site.Push(s.ctx, l, o)
		names, errs = append(names, l.Name), append(errs, err)
		if err != nil {
			pushed.Error = oneLine(err)
		}
		outcomes = append(outcomes, pushed)
		if len(pushed.Errors) > 0 {
			refused++
		}
		if !c.JSON {
			printSteps(p, strings.TrimSpace(l.Name+" "+pushed.ID), c.DryRun, pushed.Done, pushed.Notes, err == nil)
			if len(pushed.Errors) > 0 {
				fmt.Fprintln(p.stdout, "  Meta's own validation found:") //nolint:errcheck // output only
				if err := printHuman(p.stdout, []*result{{file: l.File, text: l.JSON, errors: pushed.Errors}}); err != nil {
					return err
				}
			}
		}
		if s.ctx.Err() != nil {
			break
		}
	}
	if c.JSON {
		if err := writeJSON(p.stdout, outcomes); err != nil {
			return err
		}
	}
	if err := failedFlows(p, c.JSON, "pushed", names, errs); err != nil {
		return err
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d flows have errors at Meta, with which they cannot be published", refused, len(flows))
	}
	return nil
}

type metaPull struct {
	metaFolder
	Overwrite bool `help:"Also over files that were changed here since the last push or pull."`
	DryRun    bool `help:"Only say what would be done."`
}

// Run pulls flows.
func (c metaPull) Run(p *process) error {
	return c.withSite(p, c.DryRun, func(s *metaSession, site *meta.Site, all []meta.Local) error {
		results, err := site.Pull(s.ctx, c.Dir, all, c.Names, c.Overwrite)
		if c.JSON {
			if results == nil {
				results = []meta.Result{}
			}
			return errors.Join(writeJSON(p.stdout, results), err)
		}
		for _, r := range results {
			printSteps(p, r.Flow+" "+r.ID, c.DryRun, r.Done, r.Notes, err == nil)
		}
		return err
	})
}

type metaDiff struct{ metaFolder }

// Run shows differences; that there are some is an error, as diff has it.
func (c metaDiff) Run(p *process) error {
	return c.withSite(p, true, func(s *metaSession, site *meta.Site, all []meta.Local) error {
		flows, err := meta.Pick(all, c.Names)
		if err != nil {
			return err
		}
		app, err := s.app()
		if err != nil {
			return err
		}
		differences, err := site.Diff(s.ctx, flows, app, len(c.Names) == 0)
		if err != nil {
			return err
		}
		differ := 0
		for _, d := range differences {
			if d.Differs() {
				differ++
			}
		}
		if c.JSON {
			err = writeJSON(p.stdout, differences)
		} else {
			err = printDifferences(p, differences)
		}
		if err == nil && differ > 0 {
			err = fmt.Errorf("%d flows differ", differ)
		}
		return err
	})
}

func printDifferences(p *process, differences []meta.Difference) error {
	rows := make([][]string, len(differences))
	for i, d := range differences {
		rows[i] = []string{d.Flow, d.ID, d.Status, string(d.State)}
	}
	if err := printTable(p.stdout, []string{"FLOW", "ID", "STATUS", "STATE"}, rows); err != nil {
		return err
	}
	for _, d := range differences {
		if len(d.Lines)+len(d.Metadata) == 0 {
			continue
		}
		fmt.Fprintf(p.stdout, "\n--- %s at Meta\n+++ %s here\n", plain(d.Flow), plain(d.Flow)) //nolint:errcheck // output only
		for _, line := range slices.Concat(d.Metadata, d.Lines) {
			fmt.Fprintln(p.stdout, printable(line)) //nolint:errcheck // output only
		}
	}
	return nil
}

type metaPublish struct {
	metaFolder
	DryRun bool `help:"Only make the checks that Meta makes, as far as they can be made from here."`
}

// Run publishes flows.
func (c metaPublish) Run(p *process) error {
	return c.withSite(p, c.DryRun, func(s *metaSession, site *meta.Site, all []meta.Local) error {
		if len(c.Names) == 0 {
			return errors.New("which flows? Name them behind the directory")
		}
		flows, err := meta.Pick(all, c.Names)
		if err != nil {
			return err
		}
		outcomes := []meta.Publication{}
		names, errs, open := []string{}, []error{}, 0
		for _, l := range flows {
			published, err := site.Publish(s.ctx, l)
			names, errs = append(names, l.Name), append(errs, err)
			if err != nil {
				published.Error = oneLine(err)
			}
			outcomes = append(outcomes, published)
			for _, check := range published.Checks {
				if !check.OK {
					open++
				}
			}
			if !c.JSON {
				printSteps(p, strings.TrimSpace(l.Name+" "+published.ID), c.DryRun, published.Done, published.Notes, err == nil)
				if err := printChecks(p, published.Checks); err != nil {
					return err
				}
			}
			if s.ctx.Err() != nil {
				break
			}
		}
		if c.JSON {
			if err := writeJSON(p.stdout, outcomes); err != nil {
				return err
			}
		}
		if err := failedFlows(p, c.JSON, "published", names, errs); err != nil {
			return err
		}
		if open > 0 {
			return fmt.Errorf("%d checks fail, with which Meta would refuse to publish", open)
		}
		return nil
	})
}

func printChecks(p *process, checks []meta.Check) error {
	if len(checks) == 0 {
		return nil
	}
	rows := make([][]string, len(checks))
	for i, check := range checks {
		rows[i] = []string{"  ok", check.Name, check.Says, check.Fix}
		if !check.OK {
			rows[i][0] = "  FAILS"
		}
	}
	return printTable(p.stdout, []string{"  CHECK", "", "FOUND", "WHAT TO DO"}, rows)
}

type metaDeprecate struct {
	metaFolder
	Former bool `help:"Not these, but those they took the place of."`
	Yes    bool `help:"Do it: a deprecated flow can never be sent, changed or published again."`
	DryRun bool `help:"Only say what would be done."`
}

// Run deprecates flows.
func (c metaDeprecate) Run(p *process) error {
	switch {
	case len(c.Names) == 0:
		return errors.New("which flows? Name them behind the directory")
	case !c.Yes && !c.DryRun:
		return errors.New("a deprecated flow can never be sent, changed or published again: give --yes if that is meant, or --dry-run to see what it would be")
	}
	return c.withSite(p, c.DryRun, func(s *metaSession, site *meta.Site, _ []meta.Local) error {
		results, names, errs := []meta.Result{}, []string{}, []error{}
		for _, name := range c.Names {
			r, err := site.Deprecate(s.ctx, name, c.Former)
			names, errs = append(names, name), append(errs, err)
			if err != nil {
				r.Error = oneLine(err)
			}
			results = append(results, r)
			if !c.JSON {
				printSteps(p, strings.TrimSpace(name+" "+r.ID), c.DryRun, r.Done, r.Notes, err == nil)
			}
		}
		if c.JSON {
			if err := writeJSON(p.stdout, results); err != nil {
				return err
			}
		}
		return failedFlows(p, c.JSON, "deprecated", names, errs)
	})
}

// lockedFlow is the flow's id at Meta by the lock file of a folder.
func lockedFlow(dir, environment, account, name string) (id string, err error) {
	if _, err := os.Stat(meta.LockFile(dir, environment)); err != nil {
		return "", fmt.Errorf("there is no lock file of the environment %s in %s: push or pull first", environment, dir)
	}
	lock, err := meta.OpenLock(dir, environment, account)
	if err != nil {
		return "", err
	}
	entry := lock.Flows[name]
	if entry == nil {
		return "", fmt.Errorf("the lock file of %s does not know the flow %s: push or pull it first", environment, name)
	}
	return entry.ID, nil
}

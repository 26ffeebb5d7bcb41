package seed

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

const (
	// maxFindings of the validator are told of each flow, maxRefused rows of each
	// table: the ledger has all of them.
	maxFindings = 5
	maxRefused  = 20
)

// Report says what became of everything. It holds ids, names of flows and
// reasons, and nothing of any person.
type Report struct {
	DryRun  bool     `json:"dryRun"`
	Account string   `json:"account"`
	Tables  []*Table `json:"tables"`
	// Flows are those that were looked at, with what is wrong with them.
	Flows []Flow `json:"flows"`
	// Found are answers that only webhooks held: the seed had not stored them.
	Found int64 `json:"answersFoundInWebhooks"`
	// Undelivered are answers that the seed had not delivered, and of which no
	// delivery was made here either; Queued are deliveries made by this run.
	Undelivered int64 `json:"answersNotDelivered"`
	Queued      int64 `json:"deliveriesMade"`
	// Kept says where everything is that has no place here.
	Kept []string `json:"kept"`
}

// Table is what became of the rows of one table of the seed.
type Table struct {
	Name         string         `json:"name"`
	Found        int            `json:"found"`
	TakenOver    int            `json:"takenOver"`
	AlreadyThere int            `json:"alreadyThere"`
	NotMapped    int            `json:"notMapped"`
	Notes        map[string]int `json:"notes,omitempty"`    // to number of rows
	Refused      []Refused      `json:"unmapped,omitempty"` // the first of them
}

// Refused is a row that could not be mapped.
type Refused struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// Flow is what the validator and the engine say of a flow.
type Flow struct {
	Name     string   `json:"name"`
	Broken   string   `json:"broken,omitempty"` // why it cannot run here; empty: it can
	Errors   int      `json:"errors"`           // that Meta would refuse it for
	Warnings int      `json:"warnings"`
	Findings []string `json:"findings,omitempty"` // the first errors
	Notes    []string `json:"notes,omitempty"`    // what will not work as its author may expect
}

// Complete says whether every row was mapped.
func (r *Report) Complete() bool { return r.NotMapped() == 0 }

// NotMapped is the number of rows that could not be mapped.
func (r *Report) NotMapped() (n int) {
	for _, t := range r.Tables {
		n += t.NotMapped
	}
	return n
}

func (r *Report) table(name string) *Table {
	t := &Table{Name: name}
	r.Tables = append(r.Tables, t)
	return t
}

func (t *Table) note(s string) {
	if t.Notes == nil {
		t.Notes = make(map[string]int)
	}
	t.Notes[s]++
}

func (t *Table) count(all []outcome) {
	for _, o := range all {
		switch o.result {
		case takenOver:
			t.TakenOver++
		case wasThere:
			t.AlreadyThere++
		case notMapped:
			if t.NotMapped++; len(t.Refused) < maxRefused {
				t.Refused = append(t.Refused, Refused{o.id.String(), o.note})
			}
			continue
		}
		if o.note != "" {
			t.note(o.note)
		}
	}
}

func (t *Table) line() string {
	return fmt.Sprintf("%s: %d found, %d taken over, %d already there, %d not mapped", t.Name, t.Found, t.TakenOver, t.AlreadyThere, t.NotMapped)
}

// kept says where the rest is.
func (r *Report) kept(s *source, elsewhere bool) {
	where := "the schema " + s.schema
	switch {
	case elsewhere:
		where = "the database it was read from, which was not changed; rows with a note or a reason are whole in " + Schema + ".imported.original"
	case r.DryRun && s.schema != Schema:
		where = "the schema " + Schema + ", where an import moves these tables"
	}
	r.Kept = append(r.Kept,
		"every row as it was: in "+where,
		"what became of each row: in "+Schema+".imported",
		"webhooks are kept in webhook_events for RETENTION_EVENTS_DAYS, 90 unless set, by their own time: older ones go when a worker is started",
		"without a place here: flow_sessions.phone_number, status (expired, error) and error_message; flow_responses.raw_webhook_payload; "+
			"webhook_events.signature, processed, callback_* and processed_at")
	for _, t := range tables {
		if extra := s.extra(t.name); len(extra) > 0 {
			r.Kept = append(r.Kept, "columns of "+t.name+" that no migration of whatsapp-flows-server makes, not taken over: "+strings.Join(extra, ", "))
		}
	}
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	p := &printer{w: w}
	if r.DryRun {
		p.line("A dry run: nothing was changed. An import would find and do this.\n")
	}
	p.table(r.Tables)
	for _, t := range r.Tables {
		p.details(t)
	}
	p.flows(r.Flows)
	p.line("")
	if r.Found > 0 {
		p.line("%d answers were in webhooks only, because whatsapp-flows-server had not known their tokens or had failed: they are answers like the others here", r.Found)
	}
	if r.Queued > 0 {
		p.line("%d deliveries were made of answers that had not been delivered", r.Queued)
	}
	if r.Undelivered > 0 {
		p.line("%d answers had not been delivered, as far as it knew. Nothing is delivered of them: --deliver-pending does it", r.Undelivered)
	}
	for _, k := range r.Kept {
		p.line("%s", k)
	}
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) table(all []*Table) {
	t := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "table\tfound\ttaken over\talready there\tnot mapped\t") //nolint:errcheck // Flush tells
	for _, row := range all {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t\n", row.Name, row.Found, row.TakenOver, row.AlreadyThere, row.NotMapped) //nolint:errcheck // as above
	}
	if err := t.Flush(); p.err == nil {
		p.err = err
	}
}

func (p *printer) details(t *Table) {
	if len(t.Notes)+len(t.Refused) > 0 {
		p.line("\n%s", t.Name)
	}
	var notes []string
	for note := range t.Notes {
		notes = append(notes, note)
	}
	slices.Sort(notes)
	for _, note := range notes {
		p.line("  %d × %s", t.Notes[note], plain(note))
	}
	for _, r := range t.Refused {
		p.line("  not mapped: %s: %s", r.ID, plain(r.Reason))
	}
	if more := t.NotMapped - len(t.Refused); more > 0 {
		p.line("  not mapped: %d more, see %s.imported", more, Schema)
	}
}

func (p *printer) flows(all []Flow) {
	said := false
	for _, f := range all {
		if f.Broken == "" && f.Errors == 0 && len(f.Notes) == 0 {
			continue
		}
		if !said {
			p.line("\nflows to look at")
			said = true
		}
		p.line("  %s", plain(f.Name))
		if f.Broken != "" {
			p.line("    cannot run here, and is kept as a version that is not served: %s", plain(f.Broken))
		}
		for _, finding := range f.Findings {
			p.line("    Meta would refuse it: %s", plain(finding))
		}
		if more := f.Errors - len(f.Findings); more > 0 {
			p.line("    and for %d more reasons: see `worker flows validate`", more)
		}
		for _, note := range f.Notes {
			p.line("    %s", plain(note))
		}
	}
}

// plain keeps what others wrote on one line.
func plain(s string) string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
}

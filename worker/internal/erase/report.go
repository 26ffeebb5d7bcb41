package erase

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
)

// What is counted, by table or store and what happened there.
const (
	contactRows      = "contacts"
	responseRows     = "flow_responses"
	sessionRows      = "flow_sessions"
	stepRows         = "flow_steps"
	messageRows      = "webhook_messages"
	eventsCut        = "webhook_events cut"
	eventsRedacted   = "webhook_events redacted"
	deliveryRows     = "deliveries"
	deliveriesEnded  = "deliveries cancelled"
	historyRows      = "delivery_history"
	attemptBodies    = "attempts response bodies"
	deadRows         = "dead_entries"
	deadCut          = "dead_entries cut"
	keysHashed       = "event_keys hashed"
	redisSessions    = "redis sessions"
	redisDeadEntries = "redis dead streams"
)

var stores = []string{contactRows, responseRows, sessionRows, stepRows, messageRows, eventsCut, eventsRedacted, deliveryRows,
	deliveriesEnded, historyRows, attemptBodies, deadRows, deadCut, keysHashed, redisSessions, redisDeadEntries}

// Report says what was erased, or would be, and what is left. It names nobody.
type Report struct {
	ID         uuid.UUID        `json:"id" format:"uuid"`
	At         Timestamp        `json:"at" format:"date-time"`
	Account    string           `json:"account"`
	Identified By               `json:"identified" enum:"phone_number,user_id,flow_token" doc:"By what the person was identified"`
	DryRun     bool             `json:"dryRun" doc:"Nothing was changed: the numbers say what would be"`
	Erased     map[string]int64 `json:"erased" doc:"Table or store to number of rows, keys or bodies"`
	Receivers  []Receiver       `json:"receivers" doc:"Who was sent the person's data and must be asked to erase it"`
	Remains    []Remains        `json:"remains" doc:"What is not erased, and until when"`
}

// Receiver is an endpoint that got callbacks about the person.
type Receiver struct {
	Endpoint  string `json:"endpoint" doc:"Name of the endpoint"`
	Delivered int64  `json:"delivered" doc:"Callbacks that it took"`
	Attempted int64  `json:"attempted" doc:"Callbacks that were sent and not confirmed: it may have them nevertheless"`
}

// Remains is something that is not erased.
type Remains struct {
	What  string     `json:"what"`
	Count *int64     `json:"count,omitempty" doc:"How many, where that is known"`
	Until *Timestamp `json:"until,omitempty" format:"date-time" doc:"When it is gone by itself"`
	Note  string     `json:"note"`
}

// Timestamp is written with milliseconds, in UTC.
type Timestamp = records.Timestamp

// Total is the number of everything that was erased.
func (r *Report) Total() (n int64) {
	for _, c := range r.Erased {
		n += c
	}
	return n
}

// counts are those of one pass.
type counts struct {
	erased    map[string]int64
	receivers map[string]Receiver
}

func newCounts() *counts {
	return &counts{map[string]int64{}, map[string]Receiver{}}
}

func (c *counts) add(what string, n int64) { c.erased[what] += n }

// with is r and what another pass found.
func (r *Report) with(c *counts) Report {
	sum := *r
	sum.Erased = maps.Clone(r.Erased)
	for what, n := range c.erased {
		sum.Erased[what] += n
	}
	receivers := maps.Clone(c.receivers)
	for _, known := range r.Receivers {
		more := receivers[known.Endpoint]
		receivers[known.Endpoint] = Receiver{known.Endpoint, known.Delivered + more.Delivered, known.Attempted + more.Attempted}
	}
	sum.Receivers = make([]Receiver, 0, len(receivers))
	for _, name := range slices.Sorted(maps.Keys(receivers)) {
		sum.Receivers = append(sum.Receivers, receivers[name])
	}
	return sum
}

func (r *Report) remain(what string, n int64, until time.Time, note string) {
	left := Remains{What: what, Note: note}
	if n > 0 {
		left.Count = &n
	}
	if !until.IsZero() {
		left.Until = &Timestamp{Time: until}
	}
	r.Remains = append(r.Remains, left)
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells ...any) {
		fmt.Fprintln(table, strings.TrimRight(fmt.Sprintf(strings.Repeat("%v\t", len(cells)), cells...), "\t")) //nolint:errcheck // Flush tells
	}
	did := "erased"
	if r.DryRun {
		did = "would be erased"
	}
	line("store", did)
	for _, store := range stores {
		line(store, r.Erased[store])
	}
	if len(r.Receivers) > 0 {
		line()
		line("receiver of callbacks", "delivered", "sent, not confirmed")
		for _, to := range r.Receivers {
			line(to.Endpoint, to.Delivered, to.Attempted)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for i, left := range r.Remains {
		head := ""
		if i == 0 {
			head = "\nwhat remains:\n"
		}
		n, until := "", ""
		if left.Count != nil {
			n = fmt.Sprintf(" (%d)", *left.Count)
		}
		if left.Until != nil {
			until = ", until " + left.Until.UTC().Format(time.RFC3339)
		}
		if _, err := fmt.Fprintf(w, "%s- %s%s%s: %s\n", head, left.What, n, until, left.Note); err != nil {
			return err
		}
	}
	return nil
}

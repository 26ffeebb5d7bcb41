package chaos

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// stored names every row that an event became as conversation.go does, with how
// often it is there.
const stored = `
	SELECT 'step ' || token_hash || ' ' || version AS row, count(*) FROM flow_steps WHERE kind = 'step' GROUP BY 1
	UNION ALL SELECT kind || ' ' || from_screen, count(*) FROM flow_steps WHERE kind <> 'step' GROUP BY 1
	UNION ALL SELECT 'webhook ' || encode(sha256(body), 'hex'), count(*) FROM webhook_events GROUP BY 1
	UNION ALL SELECT CASE kind WHEN 'message' THEN 'message ' || wamid ELSE 'status ' || wamid || ' ' || type END, count(*) FROM webhook_messages GROUP BY 1
	UNION ALL SELECT 'answer ' || CASE source WHEN 'nfm_reply' THEN wamid ELSE token_hash END, count(*) FROM flow_responses WHERE account = '` + account + `' GROUP BY 1`

// inventory is what is stored, by row, against what was appended.
type inventory struct {
	missing []string // rows of acknowledged entries that are not there
	doubled int      // rows beyond the first
	strange []string // rows of no entry that was ever appended
}

// takeStock compares Postgres with the producer's record (I1).
func (s *Scene) takeStock(ctx context.Context) (inventory, error) {
	var inv inventory
	rows, err := s.db.Query(ctx, stored)
	if err != nil {
		return inv, fmt.Errorf("reading what is stored: %w", err)
	}
	p := s.Producer
	p.mu.Lock()
	defer p.mu.Unlock()
	found := make(map[string]struct{}, len(p.acked))
	var row string
	var count int
	_, err = pgx.ForEachRow(rows, []any{&row, &count}, func() error {
		inv.doubled += count - 1
		if _, ok := p.acked[row]; ok {
			found[row] = struct{}{}
		} else if _, ok := p.unknown[row]; !ok {
			inv.strange = append(inv.strange, row)
		}
		return nil
	})
	if err != nil {
		return inv, fmt.Errorf("reading what is stored: %w", err)
	}
	for row := range p.acked {
		if _, ok := found[row]; !ok {
			inv.missing = append(inv.missing, row)
		}
	}
	return inv, nil
}

// lostEntries are the acknowledged entries whose rows are missing.
func (s *Scene) lostEntries(inv inventory) map[receipt]bool {
	s.Producer.mu.Lock()
	defer s.Producer.mu.Unlock()
	lost := make(map[receipt]bool)
	for _, row := range inv.missing {
		lost[s.Producer.acked[row]] = true
	}
	return lost
}

// judge holds the invariants I1 to I7 against a settled scene.
func (s *Scene) judge(ctx context.Context, f Fault) error {
	v := s.Verdict
	inv, err := s.takeStock(ctx)
	if err != nil {
		return err
	}
	v.Events, v.Doubled, v.Lost = s.Producer.Events(), inv.doubled, len(s.lostEntries(inv))
	v.Taken = s.Lossy
	if v.Events == 0 {
		s.Miss("no event was appended: this row shows nothing")
	}
	if v.Lost > 0 && !s.Lossy {
		s.Miss("I1: %d acknowledged entries are not stored, such as %s", v.Lost, clip(inv.missing))
	}
	if v.Doubled > 0 {
		s.Miss("I1: %d rows are there twice", v.Doubled)
	}
	if len(inv.strange) > 0 {
		s.Miss("I1: %d rows are of nothing that was appended, such as %s", len(inv.strange), clip(inv.strange))
	}
	if err := s.judgeDeliveries(ctx); err != nil {
		return err
	}
	s.judgeReceiver()
	s.judgeLoad(f)
	if err := s.judgeRest(ctx); err != nil {
		return err
	}
	if v.Bound = f.Bound; v.Bound > 0 && v.Recovery > s.options.allow(v.Bound, f.Strict) {
		s.Miss("I7: recovery took %s, the bound is %s", duration(v.Recovery), duration(v.Bound))
	}
	return nil
}

// judgeDeliveries holds what is to be delivered against what was received (I2,
// I3): the endpoint of the environment gets every answer.
func (s *Scene) judgeDeliveries(ctx context.Context) error {
	all, err := s.deliveries(ctx)
	if err != nil {
		return err
	}
	accepted := s.Receiver.Accepted()
	var silent, contradicting, unfinished, repeated []string
	answered, known := make(map[string]bool, len(all)), make(map[string]bool, len(all))
	for _, d := range all {
		if answered[d.subject] {
			repeated = append(repeated, d.subject)
		}
		answered[d.subject], known[d.webhook] = true, true
		switch got := accepted[d.webhook] > 0; {
		case d.state == "delivered" && !got:
			silent = append(silent, d.webhook)
		case d.state == "dead" && got:
			contradicting = append(contradicting, d.webhook)
		case d.state != "delivered":
			unfinished = append(unfinished, d.webhook+" ("+d.state+")")
		}
	}
	if len(silent) > 0 {
		s.Miss("I2: %d deliveries count as delivered and never arrived, such as %s", len(silent), clip(silent))
	}
	if len(contradicting) > 0 {
		s.Miss("I3: %d deliveries are dead and arrived, such as %s", len(contradicting), clip(contradicting))
	}
	// The receiver takes everything: after the scene has come to rest nothing may
	// be in another state.
	if len(unfinished) > 0 {
		s.Miss("I2: %d deliveries do not count as delivered, such as %s", len(unfinished), clip(unfinished))
	}
	if len(repeated) > 0 {
		s.Miss("I2: %d answers have a delivery too many, such as %s", len(repeated), clip(repeated))
	}
	var unknown []string
	for webhook := range accepted {
		if !known[webhook] {
			unknown = append(unknown, webhook)
		}
	}
	if len(unknown) > 0 {
		s.Miss("I2: %d callbacks were accepted of which there is no delivery, such as %s", len(unknown), clip(unknown))
	}
	rows, err := s.db.Query(ctx, "SELECT id::text FROM flow_responses WHERE account = $1", account)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	var none []string
	for _, id := range ids {
		if !answered[id] {
			none = append(none, id)
		}
	}
	if len(none) > 0 {
		s.Miss("I2: %d answers have no delivery, such as %s", len(none), clip(none))
	}
	if len(ids) == 0 && s.Producer.Events() > 0 && !s.Lossy {
		s.Miss("no answer was stored: this row shows nothing of deliveries")
	}
	return nil
}

// delivery is one row to the receiver of the scene, open or finished.
type delivery struct{ webhook, subject, state string }

func (s *Scene) deliveries(ctx context.Context) ([]delivery, error) {
	rows, err := s.db.Query(ctx, `SELECT d.webhook, d.subject, d.state FROM `+allDeliveries+` d JOIN callback_endpoints e ON e.id = d.endpoint_id WHERE e.url = $1`, s.Receiver.URL())
	if err != nil {
		return nil, fmt.Errorf("reading deliveries: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (d delivery, err error) {
		err = row.Scan(&d.webhook, &d.subject, &d.state)
		return d, err
	})
}

// judgeReceiver counts what came twice (I4) and what was not signed (I5).
func (s *Scene) judgeReceiver() {
	for _, n := range s.Receiver.Accepted() {
		s.Verdict.DuplicatePosts += n - 1
	}
	if n := s.Verdict.DuplicatePosts; n > s.MaxDuplicatePosts {
		s.Miss("I4: %d callbacks came again after a 2xx, at most %d may", n, s.MaxDuplicatePosts)
	}
	s.Receiver.mu.Lock()
	defer s.Receiver.mu.Unlock()
	if n := len(s.Receiver.changed); n > 0 {
		s.Miss("I4: %d callbacks came again with another body, such as %s", n, s.Receiver.changed[0])
	}
	if n := len(s.Receiver.forged); n > 0 {
		s.Miss("I5: %d signatures do not verify, such as that of %s", n, s.Receiver.forged[0])
	}
}

// judgeLoad holds the load that there was against the one there was to be: a fault
// under half of it shows half. The short form notes it only.
func (s *Scene) judgeLoad(f Fault) {
	v := s.Verdict
	if v.Rate, v.Nominal = s.Producer.Pace(); v.Nominal == 0 {
		return
	}
	s.Note("load: %.0f events/s were appended, %.0f were to be", v.Rate, v.Nominal)
	if !s.Short && !f.Interrupted && v.Rate < 0.9*v.Nominal {
		s.Miss("the load was %.0f events/s, at least nine tenths of %.0f are wanted", v.Rate, v.Nominal)
	}
}

// expired counts the leases that ran out: claims of which no attempt is told. It
// is what lease_expired_total says of all workers, those that were killed
// included.
const expired = `SELECT (SELECT coalesce(sum(attempt), 0) FROM deliveries)::bigint
	+ (SELECT coalesce(sum(attempt), 0) FROM delivery_history)::bigint - (SELECT count(*) FROM attempts)`

// judgeRest looks for what was left behind (I6).
func (s *Scene) judgeRest(ctx context.Context) error {
	leased, err := s.Number(ctx, "SELECT count(*) FROM deliveries WHERE state = 'leased'")
	if err != nil {
		return err
	}
	if leased > 0 {
		s.Miss("I6: %d leases are left", leased)
	}
	ran, err := s.Number(ctx, expired)
	if err != nil {
		return err
	}
	s.Verdict.Expired = int(ran)
	if ran != 0 {
		s.Note("%d leases ran out, %d may", ran, s.MaxExpired)
	}
	if ran < 0 || ran > int64(s.MaxExpired) {
		s.Miss("I6: %d leases ran out, at most %d may", ran, s.MaxExpired)
	}
	entries, pending, err := s.backlog(ctx)
	if err != nil {
		return err
	}
	if entries+pending > 0 {
		s.Miss("I6: %d entries are left on the streams, %d pending", entries, pending)
	}
	gaps, err := s.Number(ctx, missingNumbers)
	if err != nil {
		return err
	}
	if gaps > 0 && !s.Lossy {
		s.Miss("I1: %d numbers below the producer's marks never arrived", gaps)
	}
	return nil
}

// missingNumbers counts the numbers below the marks of sources that have not
// arrived: what the gap detector reports once they are old enough.
const missingNumbers = `
	SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint
	FROM stream_sources s, unnest(int8multirange(int8range(1, s.mark + 1)) - s.seen) AS r WHERE s.mark > 0`

// clip shows the first few of many.
func clip(all []string) string { return strings.Join(all[:min(3, len(all))], ", ") }

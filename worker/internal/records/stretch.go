package records

import "time"

// The stretch of time that is searched first, and how much longer each one
// before it is: a page is mostly found in the partitions of the latest days, and
// Postgres need not open those of all the years before.
const (
	firstStretch  = 2 * 24 * time.Hour
	stretchFactor = 4
)

// byStretches collects at most limit rows, the latest first, of a table that is
// partitioned by day: those of the latest stretch of time, then of the one
// before. read gives the rows of a stretch, behind the place from if there is
// one.
func byStretches[T any](within Span, from *Place, limit int, read func(Span, int) ([]T, error)) ([]T, error) {
	var all []T
	oldest := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // nothing older is stored
	if within.Since.After(oldest) {
		oldest = within.Since
	}
	until := time.Now().Add(firstStretch) // the partition of tomorrow included
	if u := within.Until; !u.IsZero() && u.Before(until) {
		until = u
	}
	if from != nil && from.At.Before(until) {
		until = from.At.Add(time.Microsecond)
	}
	for stretch := 2 * firstStretch; len(all) < limit && until.After(oldest); stretch *= stretchFactor {
		since := until.Add(-stretch)
		if since.Before(oldest) {
			since = oldest
		}
		part, err := read(Span{since, until}, limit-len(all))
		if err != nil {
			return nil, err
		}
		all, until = append(all, part...), since
	}
	return all, nil
}

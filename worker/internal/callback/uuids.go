package callback

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// uuids are written to Postgres as sixteen bytes. A uuid.UUID would go there and
// back as text, by reflection: an eighth of what a callback costs.
func uuids(ids []uuid.UUID) []pgtype.UUID {
	all := make([]pgtype.UUID, len(ids))
	for i, id := range ids {
		all[i] = pgtype.UUID{Bytes: id, Valid: true}
	}
	return all
}

// bytes16 is where one is read to.
func bytes16(id *uuid.UUID) *[16]byte { return (*[16]byte)(id) }

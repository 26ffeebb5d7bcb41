package payload

import (
	"time"

	"github.com/google/uuid"
)

// version of the typed form. What is added to data does not change it.
const version = 1

// subject is a row that an event tells of.
type subject interface {
	// write adds the members of data.
	write(o *object)
}

// envelope is the typed form.
func envelope(kind string, id uuid.UUID, at time.Time, account string, s subject) []byte {
	o := newObject()
	o.put("type", kind)
	o.put("version", version)
	o.put("id", id)
	o.put("timestamp", at.UTC().Format(milliseconds))
	o.put("account", account)
	if whole, ok := s.(interface{ data() []byte }); ok {
		o.verbatim("data", whole.data())
	} else {
		o.within("data", s.write)
	}
	return o.close()
}

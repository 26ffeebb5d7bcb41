package flow

import (
	"io"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow/logic"
)

// Env is what an answer may depend on besides the request and the session.
type Env struct {
	Now   time.Time // of this turn; the only clock of a flow's logic
	Fetch Fetcher   // nil: every fetch fails, that is, takes its fallback
	// Random is for randomID and randomDigits; nil means crypto/rand.Reader. When
	// a request is answered once more after a conflict, the second run must get
	// the same bytes: a code that a fetch has sent in the first run must be the
	// one the session remembers.
	Random io.Reader
}

// What a flow's logic asks of upstreams.
type (
	Fetcher      = logic.Fetcher
	FetchRequest = logic.FetchRequest
	FetchResult  = logic.FetchResult
)

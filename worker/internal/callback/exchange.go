package callback

import (
	"context"
	"net/http/httptrace"
	"sync"
)

// exchange is what is known of one attempt while it runs; it travels in the
// request's context because the hooks of go-retryablehttp belong to the client.
type exchange struct {
	request Request
	used    func(reused bool) // is told of each connection; nil: nobody asks

	mu      sync.Mutex // the transport traces from goroutines of its own
	tries   int
	hasConn bool
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// begin starts a try.
func (x *exchange) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tries++
	x.hasConn = false
}

func (x *exchange) gotConn(info httptrace.GotConnInfo) {
	if x.used != nil {
		x.used(info.Reused)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.hasConn = true
}

// connected says whether this try had a connection it could write to.
func (x *exchange) connected() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.hasConn
}

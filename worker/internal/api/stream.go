package api

import (
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// chunkTime is how long a client may take to read one chunk of a long answer.
const chunkTime = 30 * time.Second

// chunks writes an answer that may take longer than the server's time for a
// whole one: each write has chunkTime of its own.
type chunks struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// chunksOf is for the function that an operation's Body may be.
func chunksOf(ctx huma.Context) *chunks {
	_, w := humago.Unwrap(ctx)
	return &chunks{w, http.NewResponseController(w)}
}

// Write implements io.Writer. Give it some kilobytes at a time.
func (c *chunks) Write(p []byte) (int, error) {
	if err := c.control.SetWriteDeadline(time.Now().Add(chunkTime)); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// Flush sends what was written.
func (c *chunks) Flush() error { return c.control.Flush() }

// Abort ends an answer that cannot be completed, so that the client notices. It
// does not return.
func (c *chunks) Abort() { panic(http.ErrAbortHandler) }

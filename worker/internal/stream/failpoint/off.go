//go:build !failpoints

// Package failpoint stops the process at a named point so that a test can kill
// it exactly there. It does nothing unless built with the tag failpoints.
package failpoint

// The points there are.
const (
	AfterRead    = "after_read"    // entries were read, nothing is stored
	BeforeCommit = "before_commit" // everything is written, nothing committed
	AfterCommit  = "after_commit"  // committed, not acknowledged
)

// Hit does nothing in this build.
func Hit(string) {}

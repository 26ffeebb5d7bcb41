package main

import (
	"os"
	"runtime/debug"
)

// Half of what the collector costs is saved by letting the heap grow to five times
// what lives in it, some 20 MB; the limit keeps a worker that has many large bodies
// in hand from taking five times those.
const (
	gcPercent   = 400
	memoryLimit = 256 << 20
)

// tuneMemory leaves alone what the operator has set.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

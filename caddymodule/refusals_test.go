package caddymodule

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestRefusalsAreLoggedOnceAMinuteWithTheirCount(t *testing.T) {
	core, logged := observer.New(zap.DebugLevel)
	logger := zap.New(core)
	var l refusalLog
	start := time.Now()
	report := func(reason string, after time.Duration) {
		l.report(logger, "flow request", "default", reason, 432, start.Add(after))
	}

	report("signature", 0)
	for i := range 1000 {
		report("signature", time.Duration(i)*time.Millisecond)
	}
	report("decryption", time.Second) // another kind is not held back
	report("signature", logEvery)

	entries := logged.All()
	if len(entries) != 3 {
		t.Fatalf("%d lines were logged for 1003 refusals, expected 3", len(entries))
	}
	last := entries[2].ContextMap()
	if last["reason"] != "signature" || last["more_since_last_logged"] != int64(1000) || last["hint"] == "" {
		t.Errorf("the last line is %v, expected the signature with 1000 more and a hint", last)
	}
}

package load

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain checks that a run leaves no goroutine behind. A test that needs a
// process to pin runs this program again: its own has other tests to do.
func TestMain(m *testing.M) {
	if os.Getenv("LOAD_TEST_PIN_SELF") != "" {
		pinSelfAndTell()
		return
	}
	goleak.VerifyTestMain(m)
}

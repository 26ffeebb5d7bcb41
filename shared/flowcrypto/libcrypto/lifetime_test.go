//go:build cgo && libcrypto

package libcrypto_test

import (
	"bytes"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto/libcrypto"
)

// A key is closed while others decrypt with it: each call gives the message or
// ErrClosed, and what runs is finished before the key goes.
func TestCloseWhileOthersDecrypt(t *testing.T) {
	generated := otherKey(t)
	ciphertext := encrypt(t, &generated.PublicKey, []byte("message"))
	for range 20 {
		key, err := libcrypto.New(generated)
		if err != nil {
			t.Fatal(err)
		}
		var begun, users sync.WaitGroup
		begun.Add(8)
		for range 8 {
			users.Go(func() {
				for first := true; ; first = false {
					got, err := key.Decrypt(nil, ciphertext, oaep)
					if first {
						begun.Done()
					}
					if err == libcrypto.ErrClosed {
						return
					}
					if err != nil || string(got) != "message" {
						t.Errorf("got %q, %v", got, err)
						return
					}
				}
			})
		}
		begun.Wait()
		key.Close()
		key.Close()
		users.Wait()
		if got, err := key.Decrypt(nil, ciphertext, oaep); got != nil || err != libcrypto.ErrClosed {
			t.Fatalf("after Close: got %q, %v", got, err)
		}
	}
}

func TestManyCallersOfOneKey(t *testing.T) {
	key, generated := newKey(t)
	var users sync.WaitGroup
	for n := range 16 {
		message := bytes.Repeat([]byte{byte(n)}, n)
		good := encrypt(t, &generated.PublicKey, message)
		bad := flipped(good, 200)
		users.Go(func() {
			for range 40 {
				if got, err := key.Decrypt(nil, good, oaep); err != nil || !bytes.Equal(got, message) {
					t.Errorf("caller %d: got %x, %v", n, got, err)
				}
				if got, err := key.Decrypt(nil, bad, oaep); got != nil || err != libcrypto.ErrDecryption {
					t.Errorf("caller %d: an altered ciphertext gave %x, %v", n, got, err)
				}
			}
		})
	}
	users.Wait()
}

// Memory of libcrypto is not Go's, so it is the process that is measured: what
// each key or each call left behind would add up to more than the bound.
func TestMemoryDoesNotGrow(t *testing.T) {
	key, generated := newKey(t)
	good := encrypt(t, &generated.PublicKey, []byte("message"))
	bad := flipped(good, 9)
	calls := func(n int) {
		for range n {
			_, _ = key.Decrypt(nil, good, oaep)
			_, _ = key.Decrypt(nil, bad, oaep)
		}
	}
	keys := func(n int) {
		for range n {
			other, err := libcrypto.New(generated)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.Decrypt(nil, good, oaep); err != nil {
				t.Fatal(err)
			}
			other.Close()
		}
	}
	// The race detector takes memory for a while too; what leaks never stops.
	const bound, rounds = 384 << 10, 20
	for name, c := range map[string]struct {
		run func(int)
		n   int
	}{"calls": {calls, 1500}, "keys": {keys, 300}} {
		c.run(c.n)
		var grown []int
		for range rounds {
			before := resident(t)
			c.run(c.n)
			grown = append(grown, resident(t)-before)
			if grown[len(grown)-1] < bound {
				break
			}
		}
		if slices.Min(grown) >= bound {
			t.Errorf("each time with %d %s the process grew by %d bytes", c.n, name, grown)
		}
	}
}

// resident is this process's memory in bytes.
func resident(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

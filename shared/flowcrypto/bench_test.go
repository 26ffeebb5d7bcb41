package flowcrypto_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

func BenchmarkParseEnvelope(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"1KiB", 1 << 10}, {"7MiB", 7 << 20}} {
		key := businessKey(b)
		body := envelope(b, &key.PublicKey, sixteen(1), sixteen(2), make([]byte, c.size)).body(b)
		body = bytes.ReplaceAll(body, []byte("/"), []byte(`\/`))
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := flowcrypto.ParseEnvelope(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen includes parsing, because an envelope opens once.
func BenchmarkOpen(b *testing.B) {
	body := envelope(b, &businessKey(b).PublicKey, sixteen(1), sixteen(2), make([]byte, 1<<10)).body(b)
	for _, backend := range backends(b) {
		b.Run("backend="+backend.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e, err := flowcrypto.ParseEnvelope(body)
				if err != nil {
					b.Fatal(err)
				}
				if _, _, err := e.Open(backend.key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecrypt is the private operation alone, by so many callers at once.
// Beside the time it reports the CPU time of the process.
func BenchmarkDecrypt(b *testing.B) {
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &businessKey(b).PublicKey, sixteen(1), nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, backend := range backends(b) {
		for _, callers := range []int{1, runtime.GOMAXPROCS(0), 32} {
			b.Run(fmt.Sprintf("backend=%s/callers=%d", backend.name, callers), func(b *testing.B) {
				b.ReportAllocs()
				var left atomic.Int64
				var running sync.WaitGroup
				left.Store(int64(b.N))
				before := cpuTime(b)
				for range callers {
					running.Go(func() {
						for left.Add(-1) >= 0 {
							if _, err := backend.key.Decrypt(rand.Reader, wrapped, oaep); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				running.Wait()
				b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// cpuTime is what this process has used, the kernel's part included.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func BenchmarkSeal(b *testing.B) {
	key := businessKey(b)
	body := envelope(b, &key.PublicKey, sixteen(1), sixteen(2), []byte("{}")).body(b)
	e, err := flowcrypto.ParseEnvelope(body)
	if err != nil {
		b.Fatal(err)
	}
	_, sealer, err := e.Open(key)
	if err != nil {
		b.Fatal(err)
	}
	reply := make([]byte, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		sealer.Seal(reply)
	}
}
